"""The cases for solvecaptcha-python and 2captcha-python, whose clients have the same methods."""

import base64
from typing import Any, Callable

import sdk
from sdk import Case, content, in_base64, page, path

SITE_KEY = '6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-'
PUBLIC_KEY = '69A21A01-CC43-44CC-A7DC-3E088835E78D'

#: Calls a method of a client by its name, and returns what it returned.
Call = Callable[..., Any]


def recaptcha_sent(name: str, **parameters: str) -> dict:
    return {'method': 'userrecaptcha', 'googlekey': SITE_KEY, 'pageurl': page(name), **parameters}


def cases(call: Call) -> list[Case]:
    def solve(method, *arguments, **options):
        return lambda: call(method, *arguments, **options)['code']

    def recaptcha(name, **options):
        return solve('recaptcha', SITE_KEY, page(name), **options)

    def funcaptcha(name):
        return solve('funcaptcha', PUBLIC_KEY, page(name), surl='https://client-api.example.com')

    def funcaptcha_sent(name):
        return {'method': 'funcaptcha', 'publickey': PUBLIC_KEY, 'pageurl': page(name),
                'surl': 'https://client-api.example.com'}

    def keycaptcha(user):
        return solve('keycaptcha', user, f'session-{user}', f'sign-{user}', f'sign2-{user}', page(user))

    def keycaptcha_sent(user):
        return {'method': 'keycaptcha', 's_s_c_user_id': user, 's_s_c_session_id': f'session-{user}',
                's_s_c_web_server_sign': f'sign-{user}', 's_s_c_web_server_sign2': f'sign2-{user}',
                'pageurl': page(user)}

    return [
        Case('image, png file', solve('normal', path('captcha-01-x7k2p.png')), {'images': ['captcha-01-x7k2p.png']}),
        Case('image, jpg file with hints',
             solve('normal', path('captcha-06-p9fs3.jpg'), numeric=4, minLen=5, maxLen=5, caseSensitive=1),
             {'images': ['captcha-06-p9fs3.jpg'], 'numeric': '4', 'min_len': '5', 'max_len': '5', 'regsense': '1'}),
        Case('image, gif in base64', solve('normal', in_base64('captcha-10-n8wcu.gif')),
             {'images': ['captcha-10-n8wcu.gif']}),
        Case('text', solve('text', 'If tomorrow is Saturday, what day is today?'),
             {'textcaptcha': 'If tomorrow is Saturday, what day is today?'}),
        Case('text, signs of all kinds', solve('text', 'What does a form have to encode?'),
             {'textcaptcha': 'What does a form have to encode?'}),
        Case('text, several parts', solve('text', 'What comes in several parts?'),
             {'textcaptcha': 'What comes in several parts?'}),
        Case('text, cyrillic', solve('text', 'Какого цвета снег?', language=1),
             {'textcaptcha': 'Какого цвета снег?', 'language': '1'}),
        Case('recaptcha_v2', recaptcha('recaptcha-1'), recaptcha_sent('recaptcha-1')),
        Case('recaptcha_v2, another page', recaptcha('recaptcha-2'), recaptcha_sent('recaptcha-2')),
        Case('recaptcha_v2, invisible', recaptcha('recaptcha-3', invisible=1),
             recaptcha_sent('recaptcha-3', invisible='1')),
        Case('funcaptcha', funcaptcha('fun-1'), funcaptcha_sent('fun-1')),
        Case('funcaptcha, another page', funcaptcha('fun-2'), funcaptcha_sent('fun-2')),
        Case('keycaptcha', keycaptcha('184015'), keycaptcha_sent('184015')),
        Case('keycaptcha, another user', keycaptcha('184016'), keycaptcha_sent('184016')),
        Case('click', solve('coordinates', path('click-39-36-192-72.png'), hintText='all stars, + & ='),
             {'images': ['click-39-36-192-72.png'], 'coordinatescaptcha': '1', 'textinstructions': 'all stars, + & ='}),
        Case('grid', solve('grid', path('grid-3x3-2-4-9.jpg'), rows=3, cols=3, hintText='stars'),
             {'images': ['grid-3x3-2-4-9.jpg'], 'recaptcha': '1', 'recaptcharows': '3', 'recaptchacols': '3'}),
        Case('rotate, two images',
             solve('rotate', [path('rotate-1-turned-40.png'), path('rotate-3-turned-240.png')], angle=40),
             {'images': ['rotate-1-turned-40.png', 'rotate-3-turned-240.png'], 'angle': '40'}),
        Case('rotate, one image', solve('rotate', path('rotate-2-turned-200.png')),
             {'images': ['rotate-2-turned-200.png'], 'method': 'rotatecaptcha'}),
    ]


class Rest(sdk.Tests):
    """What is tested one by one. An SDK sets the attributes."""

    call: Call
    #: Calls a client with another key.
    call_with_key: Callable[..., Any]
    #: What is raised for a reply with an error code, and for a captcha that takes too long.
    ApiException: type
    TimeoutException: type
    #: What `report` returns.
    reported: str | None

    def assert_raises(self, code: str, call: Callable[[], Any]) -> None:
        with self.subTest(code):
            with self.assertRaises(self.ApiException) as raised:
                call()
            self.assertEqual(str(raised.exception), code)

    def test_a_slow_captcha_is_waited_for(self):
        with sdk.provider.knobs(delay_ms=5000, delay_spread_ms=0):
            solved = self.call('recaptcha', SITE_KEY, page('slow'))
        self.assert_solved(recaptcha_sent('slow'), solved['code'])

    def test_an_answer_can_be_fetched_after_a_timeout(self):
        with sdk.provider.knobs(delay_ms=5000, delay_spread_ms=0):
            id_ = self.call('send', method='userrecaptcha', googlekey=SITE_KEY, url=page('late'))
            with self.assertRaises(self.TimeoutException):
                self.call('wait_result', id_, 1, 1)
        self.assert_solved(recaptcha_sent('late'), self.call('wait_result', id_, 20, 1))

    def test_balance(self):
        self.assertTrue(900 < self.call('balance') < 1000)

    def test_a_bad_answer_is_reported_once(self):
        solved = self.call('text', 'What is five plus five, in words?')
        self.assert_solved({'textcaptcha': 'What is five plus five, in words?'}, solved['code'])
        self.assertEqual(self.call('report', solved['captchaId'], False), self.reported)
        self.assertEqual(sdk.provider.count('reported_bad', 1), 1)
        self.assert_raises('ERROR_DUPLICATE_REPORT', lambda: self.call('report', solved['captchaId'], False))

    def test_a_good_answer_is_reported(self):
        solved = self.call('normal', path('captcha-12-plum42.gif'))
        self.assert_solved({'images': ['captcha-12-plum42.gif']}, solved['code'])
        self.assertEqual(self.call('report', solved['captchaId'], True), self.reported)
        self.assertEqual(sdk.provider.count('reported_good', 1), 1)

    def test_an_unsolvable_captcha_raises(self):
        with self.unsolvable():
            self.assert_raises('ERROR_CAPTCHA_UNSOLVABLE', lambda: self.call('normal', path('captcha-03-qwnrt.png')))

    def test_a_wrong_key_raises(self):
        for key, code in [('f' * 32, 'ERROR_KEY_DOES_NOT_EXIST'), ('short', 'ERROR_WRONG_USER_KEY')]:
            self.assert_raises(code, lambda key=key: self.call_with_key(key, 'text', 'Is this key right?'))
            self.assert_raises(code, lambda key=key: self.call_with_key(key, 'balance'))

    def test_a_bad_image_raises(self):
        for body, code in [
            (b'x' * 60, 'ERROR_ZERO_CAPTCHA_FILESIZE'),
            (b'x' * 300, 'ERROR_IMAGE_TYPE_NOT_SUPPORTED'),
            (content('captcha-01-x7k2p.png') + bytes(100 * 1024), 'ERROR_TOO_BIG_CAPTCHA_FILESIZE'),
        ]:
            self.assert_raises(code, lambda body=body: self.call('normal', base64.b64encode(body).decode()))

    def test_a_missing_page_url_raises(self):
        self.assert_raises('ERROR_PAGEURL', lambda: self.call('recaptcha', SITE_KEY, 'example.com'))

    def test_an_unknown_id_raises(self):
        self.assert_raises('ERROR_WRONG_CAPTCHA_ID', lambda: self.call('get_result', '9007199254740991'))
        self.assert_raises('ERROR_WRONG_ID_FORMAT', lambda: self.call('get_result', 'abc'))
