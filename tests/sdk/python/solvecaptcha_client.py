"""solvecaptcha: its `base_url` names pingbox, over http. Everything is in the query string, images too."""

import base64

import httpx
import sdk
from sdk import Case, content, in_base64, page
from solvecaptcha import SolveCaptchaClient, SolveCaptchaError

SITE_KEY = '6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-'
PUBLIC_KEY = '69A21A01-CC43-44CC-A7DC-3E088835E78D'

client = SolveCaptchaClient(sdk.KEY, base_url=f'http://{sdk.API}', default_polling_interval=0.5)


def padded(size):
    """An image of this many bytes."""
    image = content('captcha-02-84613.png')
    return image + bytes(size - len(image))


def image(name, **hints):
    return lambda: client.solve_image(in_base64(name), **hints)


def text(question, **hints):
    return lambda: client.solve_text(question, **hints)


def recaptcha(name, **options):
    return lambda: client.solve_recaptcha_v2(SITE_KEY, page(name), **options)


def recaptcha_sent(name, **parameters):
    return {'method': 'userrecaptcha', 'googlekey': SITE_KEY, 'pageurl': page(name), **parameters}


def funcaptcha(name):
    return lambda: client.solve_funcaptcha(PUBLIC_KEY, page(name), data={'blob': name})


def funcaptcha_sent(name):
    return {'method': 'funcaptcha', 'publickey': PUBLIC_KEY, 'pageurl': page(name), 'data': f'{{"blob": "{name}"}}'}


# What the client has a general method for.
KEYCAPTCHA = {
    'method': 'keycaptcha',
    's_s_c_user_id': '184015',
    's_s_c_session_id': 'session',
    's_s_c_web_server_sign': 'sign',
    's_s_c_web_server_sign2': 'sign2',
    'pageurl': page('key'),
}


def general(parameters):
    return lambda: client.wait_for_result(client.create_task(parameters))


CASES = [
    Case('image, png', image('captcha-01-x7k2p.png'), {'images': ['captcha-01-x7k2p.png']}),
    Case('image, jpg with hints', image('captcha-06-p9fs3.jpg', numeric=4, min_len=5, textinstructions='+ & ='),
         {'images': ['captcha-06-p9fs3.jpg'], 'numeric': '4', 'min_len': '5', 'textinstructions': '+ & ='}),
    Case('image, gif', image('captcha-10-n8wcu.gif'), {'images': ['captcha-10-n8wcu.gif']}),
    Case('image, as large as a query string holds',
         lambda: client.solve_image(base64.b64encode(padded(47 * 1024)).decode()), {'images': [padded(47 * 1024)]}),
    Case('text', text('If tomorrow is Saturday, what day is today?'),
         {'textcaptcha': 'If tomorrow is Saturday, what day is today?'}),
    Case('text, signs of all kinds', text('What does a form have to encode?'),
         {'textcaptcha': 'What does a form have to encode?'}),
    Case('text, several parts', text('What comes in several parts?'), {'textcaptcha': 'What comes in several parts?'}),
    Case('text, cyrillic', text('Какого цвета снег?', language=1),
         {'textcaptcha': 'Какого цвета снег?', 'language': '1'}),
    Case('recaptcha_v2', recaptcha('recaptcha-1'), recaptcha_sent('recaptcha-1')),
    Case('recaptcha_v2, another page', recaptcha('recaptcha-2'), recaptcha_sent('recaptcha-2')),
    Case('recaptcha_v2, invisible', recaptcha('recaptcha-3', invisible=True, data_s='a+b/c='),
         recaptcha_sent('recaptcha-3', invisible='1', **{'data-s': 'a+b/c='})),
    Case('funcaptcha', funcaptcha('fun-1'), funcaptcha_sent('fun-1')),
    Case('funcaptcha, another page', funcaptcha('fun-2'), funcaptcha_sent('fun-2')),
    Case('keycaptcha, by create_task', general(KEYCAPTCHA), KEYCAPTCHA),
    Case('click, by create_task',
         general({'method': 'base64', 'body': in_base64('click-39-36-192-72.png'), 'coordinatescaptcha': 1,
                  'textinstructions': 'all stars'}),
         {'images': ['click-39-36-192-72.png'], 'coordinatescaptcha': '1', 'textinstructions': 'all stars'}),
    Case('rotate, one image, by create_task',
         general({'method': 'rotatecaptcha', 'body': in_base64('rotate-2-turned-200.png'), 'angle': 40}),
         {'images': ['rotate-2-turned-200.png'], 'method': 'rotatecaptcha', 'angle': '40'}),
]


class Rest(sdk.Tests):
    def assert_raises(self, code, call):
        with self.subTest(code):
            with self.assertRaises(SolveCaptchaError) as raised:
                call()
            self.assertEqual(raised.exception.code, code)

    def test_a_slow_captcha_is_waited_for(self):
        with sdk.provider.knobs(delay_ms=5000, delay_spread_ms=0):
            answer = recaptcha('slow')()
        self.assert_solved(recaptcha_sent('slow'), answer)

    def test_an_answer_can_be_fetched_after_a_timeout(self):
        with sdk.provider.knobs(delay_ms=5000, delay_spread_ms=0):
            id_ = client.create_task(recaptcha_sent('late'))
            self.assert_raises('TIMEOUT', lambda: client.wait_for_result(id_, timeout=1))
        self.assert_solved(recaptcha_sent('late'), client.wait_for_result(id_))

    def test_balance(self):
        self.assertTrue(900 < client.get_balance() < 1000)

    def test_a_bad_answer_is_reported_once(self):
        id_ = client.create_task({'textcaptcha': 'What is five plus five, in words?'})
        self.assert_solved({'textcaptcha': 'What is five plus five, in words?'}, client.wait_for_result(id_))
        self.assertTrue(client.report_bad(id_))
        self.assertEqual(sdk.provider.count('reported_bad', 1), 1)
        self.assertFalse(client.report_bad(id_))

    def test_a_good_answer_is_reported(self):
        id_ = client.create_task({'method': 'base64', 'body': in_base64('captcha-12-plum42.gif')})
        self.assert_solved({'images': ['captcha-12-plum42.gif']}, client.wait_for_result(id_))
        self.assertTrue(client.report_good(id_))
        self.assertEqual(sdk.provider.count('reported_good', 1), 1)

    def test_an_unsolvable_captcha_raises(self):
        with self.unsolvable():
            self.assert_raises('ERROR_CAPTCHA_UNSOLVABLE', image('captcha-03-qwnrt.png'))

    def test_a_wrong_key_raises(self):
        for key, code in [('f' * 32, 'ERROR_KEY_DOES_NOT_EXIST'), ('short', 'ERROR_WRONG_USER_KEY')]:
            wrong = SolveCaptchaClient(key, base_url=f'http://{sdk.API}')
            self.assert_raises(code, lambda wrong=wrong: wrong.solve_text('Is this key right?'))
            self.assert_raises(code, wrong.get_balance)

    def test_a_bad_image_raises(self):
        for body, code in [(b'x' * 60, 'ERROR_ZERO_CAPTCHA_FILESIZE'), (b'x' * 300, 'ERROR_IMAGE_TYPE_NOT_SUPPORTED')]:
            self.assert_raises(code, lambda body=body: client.solve_image(base64.b64encode(body).decode()))

    def test_an_image_that_fits_into_no_query_string_is_not_sent(self):
        with self.assertRaises(httpx.InvalidURL):
            client.solve_image(base64.b64encode(padded(49 * 1024)).decode())

    def test_a_missing_page_url_raises(self):
        self.assert_raises('ERROR_PAGEURL', lambda: client.solve_recaptcha_v2(SITE_KEY, 'example.com'))

    def test_an_unknown_id_raises(self):
        self.assert_raises('ERROR_WRONG_CAPTCHA_ID', lambda: client.get_task_result('9007199254740991'))
        self.assert_raises('ERROR_WRONG_ID_FORMAT', lambda: client.get_task_result('abc'))


sdk.main(CASES, Rest)
