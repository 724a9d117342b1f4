// The client's manners on the wire, against a real HTTP server that behaves badly.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { test } from "node:test";
import { load } from "./support.mjs";

const { PlasmClient, ProblemError, TooLargeError, UnreachableError } = await load("index.js");
const ID = "ab".repeat(32);

/** Serve with a handler while a test runs. Returns what the test returns. */
async function serving(handler, run) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    return await run(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const job = (state, more = {}) => JSON.stringify({ jobId: ID, state, name: "x", ...more });
const problem = (response, status, fields, headers = {}) => {
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ status, title: "no", ...fields }));
};

test("an answer without an end is broken off", async () => {
  await serving(
    (request, response) => {
      const more = () => {
        while (!response.closed && response.write(Buffer.alloc(1 << 16)));
      };
      response.on("drain", more);
      more();
    },
    async (url) => {
      await assert.rejects(new PlasmClient(url).manifest(ID), TooLargeError);
      await assert.rejects(new PlasmClient(url).output(ID, "stdout", { maxOutputBytes: 1000 }), TooLargeError);
    },
  );
});

test("a length that is too great is refused before anything is read", async () => {
  await serving(
    (request, response) => response.writeHead(200, { "Content-Length": 2 ** 40 }).flushHeaders(),
    (url) => assert.rejects(new PlasmClient(url).output(ID, "stdout"), TooLargeError),
  );
});

test("a busy server is asked again, as late as it says", async () => {
  let asked = 0;
  await serving(
    (request, response) => (++asked < 3 ? problem(response, 503, { code: "busy", retryAfterS: 0 }) : response.end(job("COMPLETE"))),
    async (url) => assert.equal((await new PlasmClient(url).status(ID)).state, "COMPLETE"),
  );
  assert.equal(asked, 3);
});

test("a server that stays busy ends the patience, and a refusal is not asked again", async () => {
  let asked = 0;
  await serving(
    (request, response) => {
      asked++;
      problem(response, request.url.endsWith("busy") ? 503 : 422, { code: "policy", detail: "not you", hint: "ask", retryAfterS: 60 });
    },
    async (url) => {
      const client = new PlasmClient({ url, patienceS: 1 });
      await assert.rejects(client.status("busy"), { status: 503 });
      await assert.rejects(client.status(ID), (error) => {
        assert.ok(error instanceof ProblemError);
        assert.deepEqual([error.code, error.message, error.hint, error.retryAfterS], ["policy", "not you", "ask", 60]);
        return true;
      });
    },
  );
  assert.equal(asked, 2);
});

test("an answer that is no JSON, and one that is cut short, are told", async () => {
  await serving(
    (request, response) => {
      if (request.url.endsWith("cut")) {
        response.writeHead(200, { "Content-Length": 100 }).write("{");
        setImmediate(() => response.destroy());
      } else response.end("<html>");
    },
    async (url) => {
      const client = new PlasmClient({ url, patienceS: 0 });
      await assert.rejects(client.status(ID), UnreachableError);
      await assert.rejects(client.status("cut"), UnreachableError);
    },
  );
});

test("a stream that breaks goes on behind the event that was received last", async () => {
  const asked = [], output = (offset, text) => JSON.stringify({ stream: "stdout", attempt: 1, offset, data: btoa(text) });
  const told = await serving(
    (request, response) => {
      asked.push(request.headers["last-event-id"]);
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      if (asked.length === 1) {
        response.write(`retry: 1000\n\n: beat\r\n\r\nevent: status\rdata: ${job("RUNNING")}\r\rid: 1.4.0\nevent: output\ndata: ${output(0, "some")}\n\nid: 1.9.0\nevent: out`);
        setImmediate(() => response.destroy());
      } else if (asked.length === 2) response.end(`event: problem\ndata: {"detail":"the daemon is away"}\n\n`);
      else response.end(`id: 1.6.0\nevent: output\ndata: ${output(4, "é".slice(0))}\n\nid: end\nevent: end\ndata: ${job("COMPLETE")}\n\n`);
    },
    async (url) => {
      const found = [];
      for await (const event of new PlasmClient(url).events(ID)) {
        found.push(event.type === "output" ? new TextDecoder("latin1").decode(event.data) : event.type === "reconnect" ? event.problem.message : event.type);
      }
      return found;
    },
  );

  assert.deepEqual(asked, [undefined, "1.4.0", "1.4.0"]);
  assert.deepEqual(told.filter((each) => each !== "connected").slice(0, 2), ["status", "some"]);
  assert.deepEqual(told.slice(-4), ["the daemon is away", "connected", "é", "end"]);
});

test("what was asked ends when its caller says so", async () => {
  await serving(
    () => undefined,
    async (url) => {
      const ending = new AbortController();
      const waiting = new PlasmClient(url).status(ID, ending.signal);
      ending.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
    },
  );
});
