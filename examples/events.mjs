// Follows what happens to tasks as a stream, and comes back where it broke off: node events.mjs
// EventSource cannot send a token, so this reads the stream with fetch.
const server = process.env.PINGBOX_SERVER ?? "http://127.0.0.1:8081";
const token = process.env.PINGBOX_TOKEN ?? ""; // not needed as long as no token was made

/** Each message of the stream, until it ends. */
async function* messages(lastId) {
  const headers = { accept: "text/event-stream", authorization: `Bearer ${token}` };
  if (lastId) headers["last-event-id"] = lastId;
  const reply = await fetch(`${server}/v1/events?types=task.solved,task.failed,task.expired`, { headers });
  if (!reply.ok) throw Object.assign(new Error(`${reply.status}: ${await reply.text()}`), { isFinal: reply.status < 500 });
  let text = "";
  for await (const piece of reply.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const blocks = text.split("\n\n");
    text = blocks.pop(); // what has not come whole
    for (const block of blocks) {
      const lines = block.split("\n").map((line) => line.split(/: ?(.*)/s));
      yield Object.fromEntries(lines); // id, event, data; comments have no name
    }
  }
}

let lastId;
for (;;) {
  try {
    for await (const { id, event, data } of messages(lastId)) {
      if (event === "reset") console.error("some events are gone; going on with the earliest");
      else if (data) {
        const task = JSON.parse(data).data;
        console.log(event, task.id, task.answer?.text);
      }
      lastId = id || lastId; // behind what was dealt with
    }
  } catch (error) {
    if (error.isFinal) throw error;
    console.error(`${error.message}; trying again`);
  }
  await new Promise((wake) => setTimeout(wake, 1000));
}
