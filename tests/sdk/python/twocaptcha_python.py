"""2captcha-python, its synchronous client: `server` names pingbox, over https."""

import family
import sdk
from sdk import Case, path
from twocaptcha import TwoCaptcha
from twocaptcha.exceptions.api import ApiException
from twocaptcha.solver import TimeoutException

solver = TwoCaptcha(sdk.KEY, server=sdk.API, pollingInterval=1)
extended = TwoCaptcha(sdk.KEY, server=sdk.API, pollingInterval=1, extendedResponse=True)
# The server that the package calls when it is told none.
sdk.host_entry('2captcha.com')
by_host_entry = TwoCaptcha(sdk.KEY, pollingInterval=1)


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
    reported = 'OK_REPORT_RECORDED'

    def call_with_key(self, key, method, /, *arguments):
        return getattr(TwoCaptcha(key, server=sdk.API), method)(*arguments)


sdk.main(CASES, Rest)
