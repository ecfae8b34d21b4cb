"""standardwebhooks: the messages that tasks' own URLs get, checked as any receiver can."""

import contextlib
import http.server
import json
import os
import queue
import sqlite3
import threading
import urllib.request

import sdk
from sdk import Case
from standardwebhooks import Webhook, WebhookVerificationError

#: The messages that came, by the path that they came to.
came = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        came[self.path].put((body, dict(self.headers)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


receiver = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()


def webhook():
    database = f'file:{os.environ["PINGBOX_DATA__DIR"]}/pingbox.db?mode=ro'
    with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
        [(secret,)] = connection.execute('SELECT secret FROM signing_secret').fetchall()
    return Webhook(secret)


def told(path, question):
    """Submits a question; the message that comes of it, as it came."""
    came[path] = queue.Queue()
    url = f'http://127.0.0.1:{receiver.server_port}{path}'
    captcha = {'type': 'text', 'textcaptcha': question, 'webhook_url': url}
    headers = {'Authorization': f'Bearer {sdk.KEY}', 'Content-Type': 'application/json'}
    request = urllib.request.Request(f'http://{sdk.API}/v1/tasks', json.dumps(captcha).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 201
    return came[path].get(timeout=sdk.LIMIT)


def solved(path, question):
    def solve():
        body, headers = told(path, question)
        message = webhook().verify(body, headers)
        assert message['type'] == 'task.solved'
        return message['data']['answer']['text']

    return solve


QUESTIONS = [
    'If tomorrow is Saturday, what day is today?',
    'What does a form have to encode?',
    'What comes in several parts?',
    'Какого цвета снег?',
]
CASES = [Case(question, solved(f'/{number}', question), {'textcaptcha': question})
         for number, question in enumerate(QUESTIONS)]


class Rest(sdk.Tests):
    def test_a_message_that_was_changed_is_refused(self):
        question = 'What is five plus five, in words?'
        body, headers = told('/changed', question)
        self.assert_solved({'textcaptcha': question}, webhook().verify(body, headers)['data']['answer']['text'])
        changed = [(body.replace(b'ten', b'six'), headers), (body, {**headers, 'webhook-id': 'msg_1'})]
        for other_body, other_headers in changed:
            with self.assertRaises(WebhookVerificationError):
                webhook().verify(other_body, other_headers)


sdk.main(CASES, Rest)
