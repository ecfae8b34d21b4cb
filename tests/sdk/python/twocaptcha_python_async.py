"""2captcha-python, its asynchronous client: `server` names pingbox, over https. It gives up on a request after 5 s."""

import asyncio
import threading

import family
import sdk
from sdk import Case, path
from twocaptcha import AsyncTwoCaptcha
from twocaptcha.exceptions.api import ApiException
from twocaptcha.exceptions.solver import TimeoutException

# All solves run in this one loop.
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()


def wait_for(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(sdk.LIMIT)


solver = AsyncTwoCaptcha(sdk.KEY, server=sdk.API, pollingInterval=1)
extended = AsyncTwoCaptcha(sdk.KEY, server=sdk.API, pollingInterval=1, extendedResponse=True)


def call(method, /, *arguments, **options):
    return wait_for(getattr(solver, method)(*arguments, **options))


CASES = [
    *family.cases(call),
    Case('image, extended response', lambda: wait_for(extended.normal(path('captcha-02-84613.png')))['code'],
         {'images': ['captcha-02-84613.png']}),
]


class Rest(family.Rest):
    call = staticmethod(call)
    ApiException = ApiException
    TimeoutException = TimeoutException
    reported = 'OK_REPORT_RECORDED'

    def call_with_key(self, key, method, /, *arguments):
        return wait_for(getattr(AsyncTwoCaptcha(key, server=sdk.API), method)(*arguments))


sdk.main(CASES, Rest)
