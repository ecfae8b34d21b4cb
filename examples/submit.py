"""Submits an image and waits for its answer: python3 submit.py captcha.png"""
import base64
import json
import os
import sys
import urllib.error
import urllib.request
import uuid

SERVER = os.environ.get("PINGBOX_SERVER", "http://127.0.0.1:8081")
TOKEN = os.environ.get("PINGBOX_TOKEN", "")  # not needed as long as no token was made


def call(method, path, body=None, headers=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SERVER + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as reply:  # longer than the wait
            return json.load(reply)
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.code}: {error.read().decode()}")  # problem+json: code, detail, errors


def solve(path):
    with open(path, "rb") as file:
        image = base64.b64encode(file.read()).decode()
    # The same key returns the same task: whoever repeats this request does not pay twice.
    key = {"Idempotency-Key": str(uuid.uuid4())}
    task = call("POST", "/v1/tasks?wait=60", {"type": "image", "body": image}, key)
    while task["status"] not in ("solved", "failed", "expired", "cancelled"):
        task = call("GET", f"/v1/tasks/{task['id']}?wait=60")
    return task


task = solve(sys.argv[1])
if task["status"] != "solved":
    sys.exit(f"{task['status']}: {task['error']}")
print(task["answer"]["text"])
