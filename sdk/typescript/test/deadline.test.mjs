// Every call of the client ends at its deadline, whatever the server does.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, serving } from "./support.mjs";

const { PlasmClient, PlasmError, UnreachableError, WaitTimeoutError } = await load("index.js");
const ID = "ab".repeat(32), BATCH = "ab".repeat(16), timeoutS = 0.2;
const MODULE = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);

/** Read an iterator to its end. */
const all = async (items) => {
  const found = [];
  for await (const item of items) found.push(item);
  return found;
};

const CALLS = {
  submit: (client) => client.submit(MODULE, {}, { timeoutS }),
  status: (client) => client.status(ID, { timeoutS }),
  list: (client) => client.list({ timeoutS }),
  wait: (client) => client.wait(ID, { timeoutS }),
  run: (client) => client.run(MODULE, {}, { timeoutS }),
  events: (client) => all(client.events(ID, { timeoutS })),
  changes: (client) => all(client.changes({ timeoutS })),
  result: (client) => client.result(ID, { timeoutS }),
  output: (client) => client.output(ID, "stdout", { timeoutS }),
  manifest: (client) => client.manifest(ID, { timeoutS }),
  module: (client) => client.module(ID, { timeoutS }),
  upload: (client) => client.upload(MODULE, { timeoutS }),
  cancel: (client) => client.cancel(ID, { timeoutS }),
  release: (client) => client.release(ID, { timeoutS }),
  node: (client) => client.node({ timeoutS }),
  history: (client) => client.history({ timeoutS }),
  peers: (client) => client.peers({ timeoutS }),
  "batches.submit": (client) => client.batches.submit(MODULE, [{}], { timeoutS }),
  "batches.list": (client) => client.batches.list({ timeoutS }),
  "batches.show": (client) => client.batches.show(BATCH, { timeoutS }),
  "batches.wait": (client) => client.batches.wait(BATCH, { timeoutS }),
  "batches.jobs": (client) => all(client.batches.jobs(BATCH, { timeoutS })),
  "batches.result": (client) => client.batches.result(BATCH, 0, [], { timeoutS }),
  "batches.receipt": (client) => client.batches.receipt(BATCH, { timeoutS }),
  "batches.proof": (client) => client.batches.proof(BATCH, 0, { timeoutS }),
  "batches.cancel": (client) => client.batches.cancel(BATCH, { timeoutS }),
  "batches.release": (client) => client.batches.release(BATCH, { timeoutS }),
};

const busy = JSON.stringify({ status: 503, title: "no", code: "busy", retryAfterS: 0.01 });
const SERVERS = {
  "does not answer": () => undefined,
  "answers byte by byte": (request, response) => {
    response.writeHead(200, { "Content-Type": "application/json" });
    const timer = setInterval(() => response.write(" "), 20);
    response.on("close", () => clearInterval(timer));
  },
  "has no room": (request, response) => response.writeHead(503, { "Content-Type": "application/problem+json" }).end(busy),
};

for (const [how, handler] of Object.entries(SERVERS)) {
  test(`every call ends at its deadline if the server ${how}`, { timeout: 60_000, concurrency: Object.keys(CALLS).length }, async (all) => {
    await serving(handler, async (url) => {
      const each = Object.entries(CALLS).map(([name, call]) =>
        all.test(name, () => assert.rejects(call(new PlasmClient(url)), WaitTimeoutError)));
      await Promise.all(each);
    });
  });
}

test("a deadline ends a call whose fetch does not heed its signal", { timeout: 20_000 }, async () => {
  const client = new PlasmClient({ url: "http://127.0.0.1:1", fetch: () => new Promise(() => undefined) });

  await assert.rejects(client.status(ID, { timeoutS }), WaitTimeoutError);
});

test("a wait says in which state the job was", { timeout: 20_000 }, async () => {
  const running = JSON.stringify({ jobId: ID, state: "RUNNING", name: "x" });
  await serving(
    (request, response) => response.end(running),
    (url) => assert.rejects(new PlasmClient(url).wait(ID, { timeoutS }), /^WaitTimeoutError: the job has not ended within 0\.2 s: it is RUNNING$/),
  );
});

test("a wait that its caller ends throws the caller's reason", async () => {
  await serving(
    () => undefined,
    async (url) => {
      const ending = new AbortController(), waiting = new PlasmClient(url).wait(ID, { signal: ending.signal, timeoutS: 60 });
      ending.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
    },
  );
});

test("a failure before the deadline is that failure", async () => {
  const client = new PlasmClient({ url: "http://127.0.0.1:1", patienceS: 0 });

  await assert.rejects(client.wait(ID, { timeoutS: 60 }), UnreachableError);
});

test("a timeout that is no number of seconds is refused", async () => {
  const client = new PlasmClient({ url: "http://127.0.0.1:1", patienceS: 0 });

  for (const wrong of [-1, Number.NaN, "1"]) {
    await assert.rejects(client.wait(ID, { timeoutS: wrong }), (error) => error instanceof PlasmError && /timeoutS/.test(error.message));
  }
});

test("a map tells at its deadline which jobs have no result, and takes no more inputs", { timeout: 20_000 }, async () => {
  const found = [];
  await serving(
    () => undefined,
    async (url) => {
      function* inputs() {
        for (;;) yield {};
      }
      await assert.rejects(async () => {
        for await (const each of new PlasmClient(url).map(MODULE, inputs(), { concurrency: 3, timeoutS })) found.push(each);
      }, WaitTimeoutError);
    },
  );

  assert.deepEqual(found.map(({ index, error }) => [index, error instanceof WaitTimeoutError]), [[0, true], [1, true], [2, true]]);
});

test("a map whose inputs do not come ends at its deadline", { timeout: 20_000 }, async () => {
  async function* inputs() {
    await new Promise(() => undefined);
  }

  await assert.rejects(all(new PlasmClient("http://127.0.0.1:1").map(MODULE, inputs(), { timeoutS })), WaitTimeoutError);
});

test("a map that cannot read its module leaves no timer, which would keep a program from ending", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length, before = timers();
  const module = new Blob([MODULE]);
  module.arrayBuffer = () => Promise.reject(new Error("the file has changed"));

  await assert.rejects(all(new PlasmClient("http://127.0.0.1:1").map(module, [{}], { timeoutS: 5 })), /the file has changed/);
  assert.equal(timers(), before);
});
