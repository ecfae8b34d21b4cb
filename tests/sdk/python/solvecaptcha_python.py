"""solvecaptcha-python: its `server` names pingbox, over https."""

import json

import family
import sdk
from sdk import Case, path
from solvecaptcha import Solvecaptcha
from solvecaptcha.api import ApiException
from solvecaptcha.solver import TimeoutException

solver = Solvecaptcha(sdk.KEY, server=sdk.API, pollingInterval=1)
extended = Solvecaptcha(sdk.KEY, server=sdk.API, pollingInterval=1, extendedResponse=True)
# The server that the package calls when it is told none.
sdk.host_entry('api.solvecaptcha.com')
by_host_entry = Solvecaptcha(sdk.KEY, pollingInterval=1)


def call(method, /, *arguments, **options):
    return getattr(solver, method)(*arguments, **options)


CASES = [
    *family.cases(call),
    Case('image, extended response', lambda: extended.normal(path('captcha-02-84613.png'))['code'],
         {'images': ['captcha-02-84613.png']}),
    Case('image, by an entry in the hosts file', lambda: by_host_entry.normal(path('captcha-07-kettle.jpg'))['code'],
         {'images': ['captcha-07-kettle.jpg']}),
]


class Rest(family.Rest):
    call = staticmethod(call)
    ApiException = ApiException
    TimeoutException = TimeoutException
    reported = None

    def call_with_key(self, key, method, /, *arguments):
        return getattr(Solvecaptcha(key, server=sdk.API), method)(*arguments)

    def test_an_unsolvable_captcha_raises_with_an_extended_response(self):
        with self.unsolvable(), self.assertRaises(ApiException) as raised:
            extended.normal(path('captcha-04-m3hd9e.png'))
        self.assertEqual(json.loads(str(raised.exception))['request'], 'ERROR_CAPTCHA_UNSOLVABLE')


sdk.main(CASES, Rest)
