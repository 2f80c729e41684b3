// A receiver in Node (18 or later), without a package: verifies, drops repeats, keeps the highest revision of each task.
//
//   HOOK_SECRET=whsec_… node node_receiver.mjs
//
// PORT (3000) is where it listens, on this machine only: put your TLS proxy before it. HOOK_STATE (hooks.jsonl) is what
// it remembers, a line an event; one process writes it. With a database: a table with a unique key, in a transaction.
import { createHmac, timingSafeEqual } from "node:crypto";
import { existsSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { createServer } from "node:http";

const KEY = Buffer.from(process.env.HOOK_SECRET.replace(/^whsec_/, ""), "base64");
const STATE = process.env.HOOK_STATE ?? "hooks.jsonl";
const PATH = "/hook";
const TOLERANCE_SECONDS = 300;
const BODY_BYTES = 65_536;

const seen = new Set();
const revisions = new Map();
const lines = existsSync(STATE) ? readFileSync(STATE, "utf8").split("\n") : [];
for (const line of lines) {
  try {
    remember(JSON.parse(line));
  } catch {
    // the end of a line that a crash cut short: it was answered by nothing, so it comes again
  }
}
const journal = openSync(STATE, "a");

function remember({ id, task, revision }) {
  seen.add(id);
  if (task !== undefined && revision > (revisions.get(task) ?? 0)) revisions.set(task, revision);
}

// Null if we were sent this, about now; else what is wrong.
function whyNot(headers, body) {
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => headers[`webhook-${name}`] ?? "");
  if (!/^[0-9]{1,12}$/.test(timestamp)) return "timestamp";
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return "timestamp";
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`, "latin1"), body]);
  const good = Buffer.from(`v1,${createHmac("sha256", KEY).update(signed).digest("base64")}`);
  // While a secret is rotated there are two signatures; ours is one of them.
  const known = signatures.split(" ").map((one) => Buffer.from(one, "latin1"));
  return known.some((one) => one.length === good.length && timingSafeEqual(one, good)) ? null : "signature";
}

// Remember the event and what it says. What takes long comes after the answer, from what is remembered here.
function take(id, { data }) {
  if (seen.has(id)) return "repeat";
  const older = data.revision <= (revisions.get(data.task_id) ?? 0);
  const entry = { id, task: data.task_id, revision: data.revision, status: data.status };
  writeSync(journal, `\n${JSON.stringify(entry)}`);
  fsyncSync(journal);
  remember(entry);
  if (data.task_id === undefined) return "ignored"; // a type that we do not know: there will be more of them
  return older ? "older" : "applied";
}

// The raw bytes, before anything parses them; null where there are too many.
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > BODY_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function answer(request) {
  if (request.method !== "POST") return 405;
  if (request.url.split("?")[0] !== PATH) {
    console.log("refused", "path", JSON.stringify(request.url));
    return 404;
  }
  const body = await read(request);
  if (body === null) return 413;
  const reason = whyNot(request.headers, body);
  if (reason) {
    console.log("refused", reason);
    return 401;
  }
  const event = JSON.parse(body);
  const verdict = take(request.headers["webhook-id"], event);
  const about = [event.data.task_id, event.data.revision].filter((one) => one !== undefined);
  console.log(verdict, event.type, ...about);
  return 204;
}

createServer((request, response) => {
  answer(request)
    .catch((error) => {
      console.error(error);
      return 500; // not remembered, so it has to come again
    })
    .then((status) => response.writeHead(status, status === 413 || status === 404 ? { connection: "close" } : {}).end());
}).listen(Number(process.env.PORT ?? 3000), "127.0.0.1");
