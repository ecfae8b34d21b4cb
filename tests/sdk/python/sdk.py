"""What the tests of the Python SDKs share: cases that are solved all at once, and what the provider saw of them.

`tests/sdk/run` starts pingbox and an emulated provider for each suite, and says in the environment where they are.
"""

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import socket
import sys
import time
import unittest
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple

#: The token of pingbox that an SDK takes for its API key.
KEY = os.environ['SDK_KEY']
#: Host and port of pingbox's api listener.
API = os.environ['SDK_API']
#: The base URL of the emulated provider that pingbox calls.
PROVIDER = os.environ['SDK_PROVIDER']
#: The base URL of an emulated provider that only the tests call, and its key.
ORACLE = os.environ['SDK_ORACLE']
ORACLE_KEY = os.environ['SDK_ORACLE_KEY']

DATA = pathlib.Path(os.environ['SDK_DATA'])
#: The answers that are known beforehand, by the SHA-256 of the image or of the question.
ANSWERS = json.loads(pathlib.Path(os.environ['SDK_ANSWERS']).read_text())

#: The longest that one solve may take, in seconds.
LIMIT = 60


def path(image: str) -> str:
    """Where a test image is."""
    return str(DATA / image)


def content(image: str | bytes) -> bytes:
    """What is in a test image; one that was made for the test is its own content."""
    return image if isinstance(image, bytes) else (DATA / image).read_bytes()


def in_base64(image: str) -> str:
    return base64.b64encode(content(image)).decode()


def page(name: str) -> str:
    """A page URL that no other case has, with what must be encoded in it."""
    return f'https://example.com/{name}?a=1&b=x+y%20z#top'


class Case(NamedTuple):
    """One captcha."""

    name: str
    #: Has it solved, and returns the answer.
    solve: Callable[[], str]
    #: What of it must have reached the provider, in exactly one request: `images`, all files in their order, and
    #: parameters by name.
    sent: dict


class Provider:
    """The control endpoint of the provider that pingbox calls."""

    def overview(self) -> dict:
        return self._call('/sandbox')

    def requests(self, script: str) -> list:
        """The parameters of all requests to `in.php` or `res.php`, oldest first."""
        entries = self._call('/sandbox/requests')['requests']
        return [entry['parameters'] for entry in entries if entry['path'] == f'/{script}']

    @contextlib.contextmanager
    def knobs(self, **turned):
        """Turns knobs, and turns them back."""
        before = self.overview()['knobs']
        self._call('/sandbox', turned)
        try:
            yield
        finally:
            self._call('/sandbox', {name: before[name] for name in turned})

    def count(self, counter: str, wanted: int) -> int:
        """A counter, once it is as wanted, or as it stands after 15 seconds."""
        deadline = time.monotonic() + 15
        while (found := self.overview()['counters'][counter]) != wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def _call(self, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(PROVIDER + path, data=data, timeout=10) as reply:
            return json.load(reply)


provider = Provider()


def _digest(of: bytes) -> str:
    return hashlib.sha256(of).hexdigest()


def _is_sent(parameters: dict, sent: dict) -> bool:
    """Whether a request to the provider is the one for a case."""
    files = [value['sha256'] for value in parameters.values() if isinstance(value, dict)]
    wanted = dict(sent)
    images = [_digest(content(image)) for image in wanted.pop('images', [])]
    return files == images and all(parameters.get(name) == value for name, value in wanted.items())


def _expected(parameters: dict, sent: dict) -> str:
    """The answer that belongs to a request to the provider."""
    if 'textcaptcha' in sent:
        return ANSWERS[_digest(sent['textcaptcha'].encode())]
    if 'images' not in sent:
        return _oracle(parameters)
    image = content(sent['images'][0])
    known = ANSWERS.get(_digest(image))
    return known or _oracle({'method': 'base64', 'body': base64.b64encode(image).decode()})


def _oracle(parameters: dict) -> str:
    """What an emulated provider answers to these parameters: the answer depends on nothing else, so that another one
    tells it, too."""

    def call(script: str, **form) -> str:
        body = urllib.parse.urlencode({'key': ORACLE_KEY, **form}).encode()
        with urllib.request.urlopen(f'{ORACLE}/{script}', data=body, timeout=10) as reply:
            return reply.read().decode()

    form = {name: value for name, value in parameters.items() if name not in ('pingback', 'json')}
    submitted = call('in.php', **form)
    if not submitted.startswith('OK|'):
        raise AssertionError(f'the oracle refuses {form}: {submitted}')
    for _ in range(50):
        reply = call('res.php', action='get', id=submitted.removeprefix('OK|'))
        if reply != 'CAPCHA_NOT_READY':
            return reply.removeprefix('OK|')
        time.sleep(0.1)
    raise AssertionError('the oracle does not answer')


class Tests(unittest.TestCase):
    """A test case that can look at solves."""

    #: Captchas that the provider must have taken.
    submitted = 0

    def assert_solved(self, sent: dict, answer: str) -> None:
        """The answer is the one to the captcha of which `sent` reached the provider, in one request."""
        Tests.submitted += 1
        received = provider.requests('in.php')
        own = [parameters for parameters in received if _is_sent(parameters, sent)]
        self.assertEqual(len(own), 1, f'requests with {sent} among {received}')
        self.assertEqual(answer, _expected(own[0], sent))

    def __str__(self):
        return self._testMethodName.removeprefix('test_').replace('_', ' ')

    @contextlib.contextmanager
    def unsolvable(self):
        """The captcha that is submitted meanwhile is taken, and nobody can solve it."""
        Tests.submitted += 1
        with provider.knobs(unsolvable=1):
            yield


class _Provider(Tests):
    """What the provider saw of pingbox, in the end."""

    def test_no_captcha_was_submitted_twice(self):
        seen = provider.overview()
        self.assertEqual(seen['requests']['captchas'], Tests.submitted)
        self.assertEqual(seen['counters']['sent_twice'], 0)

    def test_every_answer_came_by_pingback(self):
        self.assertEqual(provider.count('pingbacks_delivered', Tests.submitted), Tests.submitted)
        self.assertEqual(provider.overview()['counters']['pingbacks_refused'], 0)
        asked = [request for request in provider.requests('res.php') if request.get('action') in ('get', 'get2')]
        self.assertEqual(asked, [])

    def test_no_rule_of_the_provider_was_broken(self):
        self.assertEqual(provider.overview()['broken_rules'], [])


def _test_of(case: Case, solving) -> unittest.TestCase:
    class Solved(Tests):
        def runTest(self):
            self.assert_solved(case.sent, solving.result(LIMIT))

        def __str__(self):
            return f'solved: {case.name}'

    return Solved()


def _tests_in(tests: type[Tests]) -> list[Tests]:
    names = [name for base in reversed(tests.__mro__) for name in vars(base) if name.startswith('test_')]
    return [tests(name) for name in dict.fromkeys(names)]


def main(cases: list[Case], rest: type[Tests]) -> None:
    """Solves all cases at the same time, tests each, then the rest one by one in the order in which it is written, then
    what the provider saw of it all."""
    with ThreadPoolExecutor(len(cases)) as pool:
        suite = unittest.TestSuite([_test_of(case, pool.submit(case.solve)) for case in cases])
        for tests in (rest, _Provider):
            suite.addTests(_tests_in(tests))
        result = unittest.TextTestRunner(sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f'cases: {result.testsRun - failed} passed, {failed} failed')
    sys.exit(0 if result.wasSuccessful() else 1)


def host_entry(host: str) -> None:
    """Sends this process to pingbox when it asks for port 443 of a host: what an entry in the hosts file does, and a
    redirection of the port."""
    resolve = socket.getaddrinfo
    address, port = API.rsplit(':', 1)

    def resolved(name, service, *args, **kwargs):
        if name == host and service == 443:
            return resolve(address, int(port), *args, **kwargs)
        return resolve(name, service, *args, **kwargs)

    socket.getaddrinfo = resolved
