#!/bin/sh
# Submits an image and waits for its answer: submit.sh captcha.png
set -eu
server=${PINGBOX_SERVER:-http://127.0.0.1:8081}
token=${PINGBOX_TOKEN:-} # not needed as long as no token was made

# -f turns an error of pingbox into one of curl. The same Idempotency-Key returns the same task, so a repeat costs nothing.
task=$(curl -fsS --retry 3 -H "Authorization: Bearer $token" -H "Idempotency-Key: $(date +%s)-$$" \
    -F type=image -F "file=@$1" "$server/v1/tasks?wait=60")

# pingbox writes JSON in one line, and an answer is text: jq -r .answer.text reads it where jq is installed.
case $task in
*'"status":"solved"'*) printf '%s\n' "$task" | sed 's/.*"answer":{"text":"\([^"]*\)".*/\1/' ;;
*) printf 'no answer: %s\n' "$task" >&2 && exit 1 ;;
esac
