"""Follows what happens to tasks, by long-poll, and goes on where it stopped: python3 events.py cursor.txt"""
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

SERVER = os.environ.get("PINGBOX_SERVER", "http://127.0.0.1:8081")
TOKEN = os.environ.get("PINGBOX_TOKEN", "")  # not needed as long as no token was made


def events_behind(cursor):
    query = urllib.parse.urlencode({"cursor": cursor, "wait": 60, "types": "task.solved,task.failed,task.expired"})
    request = urllib.request.Request(f"{SERVER}/v1/events?{query}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=90) as reply:  # longer than the wait
        return json.load(reply)


def follow(path):
    cursor = "earliest"
    if os.path.exists(path):
        with open(path) as file:
            cursor = file.read()
    while True:
        try:
            page = events_behind(cursor)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if problem["code"] != "cursor_expired":
                sys.exit(f"{error.code}: {problem['detail']}")
            cursor = problem["earliest_cursor"]  # what lies before it is gone
            continue
        except OSError:
            time.sleep(1)  # pingbox is starting again
            continue
        yield from page["events"]
        cursor = page["cursor"]
        with open(path, "w") as file:  # only once the events were dealt with
            file.write(cursor)


for event in follow(sys.argv[1]):
    task = event["data"]
    print(event["type"], task["id"], (task["answer"] or {}).get("text"), flush=True)
