#!/bin/sh
# Prints what happens to tasks, one JSON object a line, until it is stopped.
set -eu
server=${PINGBOX_SERVER:-http://127.0.0.1:8081}
token=${PINGBOX_TOKEN:-} # not needed as long as no token was made

# -N shows each event as it comes. A stream has lines "id: …", "event: …" and "data: …".
curl -fsSN -H "Authorization: Bearer $token" -H 'Accept: text/event-stream' \
    "$server/v1/events?types=task.solved,task.failed,task.expired" | sed -un 's/^data: //p'
