// The client against a real HTTP server that breaks the rules.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, serving } from "./support.mjs";

const { PlasmClient, ProblemError, TooLargeError, UnreachableError } = await load("index.js");
const ID = "ab".repeat(32);

const job = (state, more = {}) => JSON.stringify({ jobId: ID, state, name: "x", ...more });
const problem = (response, status, fields, headers = {}) => {
  response.writeHead(status, { "Content-Type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ status, title: "no", ...fields }));
};

test("an endless answer is not read to its end", async () => {
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

test("a Content-Length above the limit is refused before the body is read", async () => {
  await serving(
    (request, response) => response.writeHead(200, { "Content-Length": 2 ** 40 }).flushHeaders(),
    (url) => assert.rejects(new PlasmClient(url).output(ID, "stdout"), TooLargeError),
  );
});

test("a busy server is asked again after the time that it names", async () => {
  let asked = 0;
  await serving(
    (request, response) => (++asked < 3 ? problem(response, 503, { code: "busy", retryAfterS: 0 }) : response.end(job("COMPLETE"))),
    async (url) => assert.equal((await new PlasmClient(url).status(ID)).state, "COMPLETE"),
  );
  assert.equal(asked, 3);
});

test("retries end if the server stays busy, and a refusal is not retried", async () => {
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

test("an answer that is not JSON, and one that is cut short, are errors", async () => {
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

test("a broken event stream continues behind the last event received", async () => {
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

test("a call ends when its signal aborts", async () => {
  await serving(
    () => undefined,
    async (url) => {
      const ending = new AbortController();
      const waiting = new PlasmClient(url).status(ID, { signal: ending.signal });
      ending.abort(new Error("enough"));
      await assert.rejects(waiting, /enough/);
    },
  );
});
