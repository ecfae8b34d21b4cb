// Receives signed webhooks: WEBHOOK_SECRET=whsec_… node webhook.mjs 9000
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const seen = new Set(); // of a real receiver: a table in its database

/** Whether pingbox signed this body, in the last five minutes (Standard Webhooks). */
function isOurs(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": sent, "webhook-signature": signatures = "" } = headers;
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) return false;
  const wanted = createHmac("sha256", key).update(`${id}.${sent}.`).update(body).digest();
  // While a secret is exchanged there are two signatures, with a space between.
  return signatures.split(" ").some((signature) => {
    const [version, text = ""] = signature.split(",");
    const given = Buffer.from(text, "base64");
    return version === "v1" && given.length === wanted.length && timingSafeEqual(given, wanted);
  });
}

createServer(async (request, response) => {
  const body = await buffer(request); // as it came, before anything parses it
  if (!isOurs(request.headers, body)) return response.writeHead(401).end();
  const id = request.headers["webhook-id"];
  if (!seen.has(id)) { // the same message may come more than once
    seen.add(id);
    const { type, data } = JSON.parse(body);
    console.log(type, data.id, data.answer?.text);
  }
  response.writeHead(204).end();
}).listen(Number(process.argv[2]), "127.0.0.1");
