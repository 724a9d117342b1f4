// One job, as docs/protocol.md tells a client to hand it in and to follow it.

import { createHash, createHmac, randomBytes } from "node:crypto";
import { CHUNK_BYTES, control, data, read } from "./frames.mjs";
import { open } from "./envelope.mjs";

export const PROTOCOL = "/phase/job/1.0.0";
const OUTPUT_CREDIT = 262_144;
const HEARTBEAT_MS = 10_000;
const SILENCE_MS = 30_000;

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256"));
const hex = (...parts) => sha256(...parts).digest("hex");

// docs/determinism.md: for each item u64le(length) and its bytes.
function list(items) {
  return Buffer.concat(
    items.flatMap((item) => {
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(Buffer.byteLength(item)));
      return [length, Buffer.from(item)];
    }),
  );
}

// A job that can be handed in: its manifest's bytes, what is uploaded, and the secret of its handle.
export function jobOf(module, stdin, args = []) {
  const channels = { module, args: list(args), env: list([]), stdin };
  const digests = Object.fromEntries(Object.entries(channels).map(([name, bytes]) => [name, hex(bytes)]));
  const manifest = JSON.stringify({
    format: "phase.manifest/v0",
    profile: "plasm.det/v1",
    ...digests,
    seed: "0".repeat(64),
    limits: { gas: 1e10, memory_bytes: 64 << 20, output_bytes: 16 << 20 },
    wall_time_s: 60,
    cpu: 1,
    capabilities: [],
    retry: { attempts: 1 },
    nonce: randomBytes(16).toString("hex"),
  });
  return { manifest, channels, secret: randomBytes(32), id: hex(manifest) };
}

export const tokenFor = (job, multihash) => createHmac("sha256", job.secret).update(multihash).digest("hex");

// Both halves of a stream: what is said, and the messages heard one by one, none later than it may be.
export class Conversation {
  #stream;
  #unsent = [];
  #wake = () => {};
  #ended = false;
  #messages;
  #beat;

  constructor(stream) {
    this.#stream = stream;
    this.#messages = read(stream.source);
    stream.sink(this.#outgoing()).catch((error) => this.#stream.abort(error));
    this.#beat = setInterval(() => this.say({ type: "heartbeat" }), HEARTBEAT_MS);
  }

  async *#outgoing() {
    for (;;) {
      while (this.#unsent.length > 0) yield this.#unsent.shift();
      if (this.#ended) return;
      await new Promise((resolve) => (this.#wake = resolve));
    }
  }

  send(frame) {
    this.#unsent.push(frame);
    this.#wake();
  }

  say(message) {
    this.send(control(message));
  }

  // The next message but heartbeats; of other types than those given, a refusal or error, which is thrown.
  async hear(...types) {
    for (;;) {
      const late = AbortSignal.timeout(SILENCE_MS);
      const silence = new Promise((_, reject) => late.addEventListener("abort", () => reject(new Error("received nothing for 30 s"))));
      const { value, done } = await Promise.race([this.#messages.next(), silence]);
      if (done) throw new Error(`the node closed where ${types.join(" or ")} was to come`);
      if (value.type === "heartbeat") continue;
      if (!types.includes(value.type)) throw Object.assign(new Error(`${value.type}: ${JSON.stringify(value)}`), { said: value });
      return value;
    }
  }

  async close() {
    clearInterval(this.#beat);
    this.#ended = true;
    this.#wake();
    await this.#stream.close();
  }
}

// Say hello, ask one question, and return its answer.
export async function ask(stream, question, peer) {
  const conversation = new Conversation(stream);
  try {
    await greeted(conversation, peer);
    conversation.say(question);
    return await conversation.hear(question.type === "capabilities" ? "capabilities" : "status");
  } finally {
    await conversation.close();
  }
}

async function greeted(conversation, peer) {
  const hello = await conversation.hear("hello");
  if (hello.peer !== peer.toString()) throw new Error(`dialled ${peer}, and it says that it is ${hello.peer}`);
}

// Hand a job in, and return its outputs and its receipt. `prove` offers to show that the node has the module.
export async function run(stream, job, peer, multihash, { prove = false } = {}) {
  const conversation = new Conversation(stream);
  try {
    await greeted(conversation, peer);
    const sizes = Object.fromEntries(Object.entries(job.channels).map(([name, bytes]) => [name, bytes.length]));
    const credit = { stdout: OUTPUT_CREDIT, stderr: OUTPUT_CREDIT };
    conversation.say({ type: "submit", manifest: job.manifest, token: tokenFor(job, multihash), sizes, credit });
    const offered = await conversation.hear("offered");
    if (offered.job_id !== job.id) throw new Error("the offer is for another job");
    const known = prove && (await possessed(conversation, offered, job.channels.module));
    await upload(conversation, job, offered, known);
    const followed = await follow(conversation);
    return { ...followed, known, receipt: receiptOf(followed, job, peer, multihash) };
  } finally {
    await conversation.close();
  }
}

async function possessed(conversation, offered, module) {
  conversation.say({ type: "possession", proof: hex(Buffer.from(offered.challenge, "hex"), module) });
  return (await conversation.hear("possessed")).known;
}

async function upload(conversation, job, offered, known) {
  const [sent, room] = [{ ...offered.received }, { ...offered.credit }];
  if (known) sent.module = job.channels.module.length;
  const names = Object.keys(job.channels);
  for (;;) {
    for (const name of names) {
      const bytes = job.channels[name];
      while (sent[name] < Math.min(bytes.length, room[name])) {
        const end = Math.min(sent[name] + CHUNK_BYTES, bytes.length, room[name]);
        conversation.send(data(name, sent[name], bytes.subarray(sent[name], end)));
        sent[name] = end;
      }
    }
    if (names.every((name) => sent[name] === job.channels[name].length)) return;
    const { channel, upto } = await conversation.hear("credit");
    room[channel] = Math.max(room[channel], upto);
  }
}

async function follow(conversation) {
  const output = { stdout: [], stderr: [] };
  const received = { stdout: 0, stderr: 0 };
  const granted = { stdout: OUTPUT_CREDIT, stderr: OUTPUT_CREDIT };
  const states = [];
  let attempt = 0;
  for (;;) {
    const said = await conversation.hear("credit", "progress", "accepted", "state", "data", "result");
    if (said.status?.state !== undefined && said.status.state !== states.at(-1)) states.push(said.status.state);
    if (said.status?.attempt > attempt) attempt = said.status.attempt;
    if (said.type === "data") {
      const { channel, offset, bytes } = said;
      if (offset !== received[channel]) throw new Error(`${channel} goes on at ${offset}, not at ${received[channel]}`);
      output[channel].push(bytes);
      received[channel] += bytes.length;
      if (granted[channel] - received[channel] < OUTPUT_CREDIT / 2) {
        granted[channel] = received[channel] + OUTPUT_CREDIT;
        conversation.say({ type: "credit", channel, upto: granted[channel], attempt });
      }
    }
    if (said.type === "result") {
      const [stdout, stderr] = [Buffer.concat(output.stdout), Buffer.concat(output.stderr)];
      return { stdout, stderr, states, status: said.status, envelope: said.envelope };
    }
  }
}

// Check a receipt against the node's key, the job and its output (docs/receipts.md, "The statement").
export function receiptOf({ envelope, stdout, stderr }, job, peer, multihash) {
  const statement = open(envelope, "application/vnd.in-toto+json", multihash);
  const { asked, result, node } = statement.predicate;
  const digests = Object.fromEntries(statement.subject.map(({ name, digest }) => [name, digest.sha256]));
  const holds = {
    type: statement.predicateType === "urn:phase:receipt:v0",
    node: node.peerId === peer.toString(),
    job: asked.jobId === job.id,
    module: asked.module === hex(job.channels.module),
    stdin: asked.stdin === hex(job.channels.stdin),
    stdout: digests.stdout === hex(stdout) && result.stdoutBytes === String(stdout.length),
    stderr: digests.stderr === hex(stderr) && result.stderrBytes === String(stderr.length),
  };
  const wrong = Object.keys(holds).filter((name) => !holds[name]);
  if (wrong.length > 0) throw new Error(`the receipt does not hold: ${wrong.join(", ")}`);
  return statement;
}
