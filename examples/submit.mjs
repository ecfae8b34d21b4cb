// Submits an image and waits for its answer: node submit.mjs captcha.png
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";

const server = process.env.PINGBOX_SERVER ?? "http://127.0.0.1:8081";
const token = process.env.PINGBOX_TOKEN ?? ""; // not needed as long as no token was made

async function call(path, options = {}) {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  const reply = await fetch(server + path, { ...options, headers, signal: AbortSignal.timeout(90_000) }); // longer than the wait
  const body = await reply.json();
  if (!reply.ok) throw new Error(`${reply.status} ${body.code}: ${body.detail}`); // problem+json
  return body;
}

async function solve(path) {
  const form = new FormData();
  form.set("type", "image");
  form.set("file", new Blob([await readFile(path)]), "captcha");
  // The same key returns the same task: whoever repeats this request does not pay twice.
  const headers = { "idempotency-key": randomUUID() };
  let task = await call("/v1/tasks?wait=60", { method: "POST", body: form, headers });
  while (!["solved", "failed", "expired", "cancelled"].includes(task.status)) {
    task = await call(`/v1/tasks/${task.id}?wait=60`);
  }
  return task;
}

const task = await solve(process.argv[2]);
if (task.status !== "solved") throw new Error(`${task.status}: ${task.error?.code}`);
console.log(task.answer.text);
