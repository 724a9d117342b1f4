// The client against a real `plasm web` with a real daemon: PLASM_URL, PLASM_TOKEN.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { load, root } from "../support.mjs";

const sdk = await load("index.js");
const { PlasmClient, reexecute, unhex } = sdk;
const url = process.env.PLASM_URL, token = process.env.PLASM_TOKEN;
const hello = new Uint8Array(readFileSync(join(root, "examples", "hello", "hello.wasm")));
const text = (bytes) => new TextDecoder().decode(bytes);
const client = new PlasmClient({ url, token });
// (module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))
const forEver = unhex("0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a09010700034" + "00c000b0b");

test("a job is run, its receipt is verified, and it is re-executed on V8", async () => {
  const input = { args: ["some", "words", "with\na new line"], env: { NAME: "a=b" }, stdin: "bytes\r\n" };
  const result = await client.run(hello, input, { name: "hello.wasm", wallTimeS: 20 });

  assert.equal(text(result.stdout), "enil wen a\nhtiw sdrow emos\n");
  assert.equal(result.job.state, "COMPLETE");
  assert.equal(result.standing, "own");
  assert.match(result.words, /^receipt verified ✓ signed by 12D3KooW\w{44}, not re-executed; the job exited with code 0$/);
  assert.deepEqual([...result.verification.established].sort(), [
    "job", "job named", "peer that answered", "signature", "stderr", "stdout", "task",
  ]);
  const again = await reexecute(result.receipt, hello, input);
  assert.equal(again.words, "re-executed here on V8: output, exit code and gas equal");
  assert.equal(again.decision, "accept");
});

test("a job that fails has a verified receipt too", async () => {
  const result = await client.run(forEver, {}, { limits: { gas: 100_000 } });

  assert.match(result.words, /; the job failed: out of gas$/);
  assert.equal((await reexecute(result.receipt, forEver)).words, "re-executed here on V8: output, outcome and gas equal");
});

test("the events of a job have its output and its end", async () => {
  const job = await client.submit(hello, { args: ["some", "words"] });
  const told = [], output = [];
  for await (const event of client.events(job.jobId)) {
    told.push(event.type);
    if (event.type === "output" && event.stream === "stdout") output.push(text(event.data));
  }

  assert.equal(told[0], "connected");
  assert.equal(told.at(-1), "end");
  assert.equal(output.join(""), "sdrow emos\n");
});

test("a follower keeps state, output and the verified result", async () => {
  const job = await client.submit(hello, { args: ["some", "words"] });
  const follower = new sdk.JobFollower(client, job.jobId);
  await new Promise((resolve, reject) => {
    const end = follower.subscribe(() => {
      const { result, problem } = follower.snapshot();
      if (result === undefined && problem === undefined) return;
      end();
      if (result === undefined) reject(problem);
      else resolve();
    });
  });

  const { result, stdout, connected } = follower.snapshot();
  assert.equal(text(stdout.bytes), "sdrow emos\n");
  assert.equal(text(result.stdout), "sdrow emos\n");
  assert.equal(connected, true);
});

test("a job is cancelled", async () => {
  const job = await client.submit(forEver, {}, { limits: { gas: 1e15 }, wallTimeS: 600 });
  await assert.rejects(client.wait(job.jobId, { timeoutS: 1 }), sdk.PlasmError);
  const ended = await client.cancel(job.jobId);

  assert.equal(ended.state, "CANCELED");
  const result = await client.result(job.jobId);
  assert.equal(result.receipt.outcome.kind, "cancelled");
  assert.equal((await reexecute(result.receipt, forEver)).decision, "undecided");
});

test("a map gives results in the order of its inputs, and runs at most `concurrency` jobs at once", async () => {
  let given = 0, taken = 0, most = 0;
  function* inputs() {
    for (let number = 0; number < 12; number++) {
      given++;
      most = Math.max(most, given - taken);
      yield { args: [`job${number}`] };
    }
  }
  const found = [];
  for await (const { index, result, error } of client.map(hello, inputs(), { concurrency: 3 })) {
    taken++;
    assert.equal(error, undefined);
    assert.equal(index, found.length);
    found.push(text(result.stdout));
  }

  assert.deepEqual(found, Array.from({ length: 12 }, (_, number) => `${[...`job${number}`].reverse().join("")}\n`));
  assert.ok(most <= 4, `${most} at once`);
});

test("the server runs a batch, and the client verifies its results", async () => {
  const { peerId } = await client.node();
  const sent = await client.batches.submit(hello, [{ args: ["one"] }, { args: ["two"], gas: 10 }], { name: "pair" });
  const batch = await client.batches.wait(sent.batchId), jobs = [];
  for await (const job of client.batches.jobs(batch.batchId)) jobs.push(job);

  assert.deepEqual([batch.state, batch.counts.succeeded, batch.counts.failed], ["ended", 1, 1]);
  assert.deepEqual(jobs.map((job) => job.outcome.kind), ["exited", "out_of_gas"]);
  const first = await client.batches.result(batch.batchId, 0, [peerId]);
  assert.equal(text(first.stdout), "eno\n");
  const found = await sdk.verifyBatch(await client.batches.receipt(batch.batchId), []);
  assert.equal(found.decision, "undecided"); // nobody has signed it
  await assert.rejects(
    client.batches.result(batch.batchId, 0, [String(sdk.PeerId.parse("12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"))]),
    sdk.ReceiptRejectedError,
  );
  assert.equal((await client.batches.release(batch.batchId)).released, true);
});

test("the same manifest sent twice is one job", async () => {
  const manifest = await sdk.Manifest.of(hello, { args: ["once"] });
  const first = await client.send(manifest, { args: ["once"] }, {}, hello);
  const second = await client.send(manifest, { args: ["once"] }, {}, hello);

  assert.equal(first.jobId, manifest.jobId);
  assert.equal(second.jobId, manifest.jobId);
});

test("refusals are errors with a code", async () => {
  await assert.rejects(client.submit(new TextEncoder().encode("no module")), (error) => {
    assert.ok(error instanceof sdk.ProblemError);
    assert.ok(error.status === 422 || error.status === 400, String(error.status));
    assert.match(error.code, /^[a-z_]+$/);
    return true;
  });
  await assert.rejects(new PlasmClient({ url, token: "wrong", patienceS: 0 }).list(), { status: 401 });
  await assert.rejects(client.status("00".repeat(32)), { status: 404 });
  await assert.rejects(new PlasmClient({ url: "http://127.0.0.1:1", patienceS: 0 }).list(), sdk.UnreachableError);
});

test("a tampered receipt and a tampered output are rejected", async () => {
  const { job } = await client.run(hello, { args: ["truth"] });
  const changing = (ending, change) => async (address, options) => {
    const response = await fetch(address, options);
    return String(address).endsWith(ending) ? new Response(change(new Uint8Array(await response.arrayBuffer())), response) : response;
  };
  const flipped = (bytes) => bytes.map((byte, index) => (index === 0 ? byte ^ 1 : byte));
  const forged = (bytes) => {
    const envelope = JSON.parse(text(bytes)), statement = JSON.parse(atob(envelope.payload));
    statement.predicate.result.gasUsed = "4242";
    return JSON.stringify({ ...envelope, payload: btoa(JSON.stringify(statement)) });
  };

  for (const [ending, change, reason] of [
    ["/stdout", flipped, /the stdout is not what the receipt says/],
    ["/receipt", forged, /no signature of 12D3KooW\w{44}, the node it names, is valid/],
    ["/manifest", flipped, /not JSON/],
  ]) {
    const lied = new PlasmClient({ url, token, fetch: changing(ending, change) });
    await assert.rejects(lied.result(job.jobId), (error) => error instanceof sdk.ReceiptRejectedError && reason.test(error.message));
  }
});

const copier = new Uint8Array(readFileSync(join(root, "plasm_core", "testing", "modules", "files.wasm")));
const filesOf = (seed) => ({ "in/data": Uint8Array.from({ length: 70_000 }, (_, index) => index * seed), "in/ä %2f": "text" });

test("a job with files is run, its files are verified, and it is re-executed on V8", async () => {
  const files = filesOf(7), input = { files, outputs: ["out/", "nothing"] };
  const result = await client.run(copier, input, { fileLimits: { dataBytes: 1 << 20 } });

  const listed = [...result.files].map(({ path, sizeBytes }) => [path, sizeBytes]);
  assert.deepEqual(listed, [["out/copy", 70_000], ["out/sub/length", 4]]);
  assert.deepEqual([result.files.directories, result.files.missing], [["out/sub"], ["nothing"]]);
  const copy = result.files.get("out/copy");
  assert.deepEqual(await copy.bytes(), files["in/data"]);
  assert.deepEqual(await copy.slice(60_000, 60_005), files["in/data"].slice(60_000, 60_005));
  assert.deepEqual(await copy.unverified(69_000), files["in/data"].slice(69_000));
  assert.throws(() => result.files.get("out/none"), sdk.PlasmError);
  assert.equal((await reexecute(result.receipt, copier, input)).words, "re-executed here on V8: output, files, exit code and gas equal");
  assert.match((await reexecute(result.receipt, copier, { ...input, files: filesOf(9) })).words, /not at hand: the job's files/);
});

test("the files of a second job are not sent again", async () => {
  const bodies = [];
  const counting = new PlasmClient({
    url, token,
    fetch: (address, options) => {
      if (String(address).endsWith("/v1/jobs")) bodies.push([options.body.has("pack"), options.body.has("treeDigest")]);
      return fetch(address, options);
    },
  });
  const files = await sdk.JobTree.of(filesOf(11), { outputs: ["out/"] });
  const digests = [];
  for (const stdin of ["1", "2"]) {
    const result = await counting.run(copier, { files, stdin });
    digests.push(result.files.get("out/copy").sha256);
  }

  assert.deepEqual(bodies, [[true, false], [false, true]]);
  assert.equal(digests[0], digests[1]);
});

test("each job of a map has its files, and those of a batch share theirs", async () => {
  const found = [];
  for await (const { result, error } of client.map(copier, [3, 5].map((seed) => ({ files: filesOf(seed), outputs: ["out/"] })))) {
    assert.equal(error, undefined);
    found.push(await result.files.get("out/copy").bytes());
  }
  assert.deepEqual(found, [filesOf(3)["in/data"], filesOf(5)["in/data"]]);

  const { peerId } = await client.node();
  const batch = await client.batches.wait((await client.batches.submit(copier, [{}, {}], { files: filesOf(3), outputs: ["out/"] })).batchId);
  const { files } = await client.batches.result(batch.batchId, 1, [peerId]);
  assert.deepEqual(await files.get("out/copy").bytes(), filesOf(3)["in/data"]);
});

test("a tampered file, and a tampered list of files, are rejected", async () => {
  const { job } = await client.run(copier, { files: filesOf(13), outputs: ["out/"] });
  const lying = (matches, change) => new PlasmClient({
    url, token,
    fetch: async (address, options) => {
      const response = await fetch(address, options);
      return matches.test(String(address)) ? new Response(change(new Uint8Array(await response.arrayBuffer())), response) : response;
    },
  });

  const { files } = await lying(/files\/out\/copy$/, (bytes) => bytes.map((byte, index) => (index === 9 ? byte ^ 1 : byte))).result(job.jobId);
  await assert.rejects(files.get("out/copy").bytes(), /the file out\/copy is not what the node signed/);
  for (const change of [
    ({ files: listed, ...rest }) => ({ ...rest, files: listed.slice(0, -1) }),
    ({ files: listed, ...rest }) => ({ ...rest, files: listed.map((item) => (item.path === "out/copy" ? { ...item, sha256: "00".repeat(32) } : item)) }),
    ({ files: listed, ...rest }) => ({ ...rest, files: listed.map((item) => ({ ...item, path: item.path.replace("copy", "cope") })) }),
    ({ files: listed, ...rest }) => ({ ...rest, files: listed.map((item) => (item.sizeBytes === 4 ? { ...item, sizeBytes: "4" } : item)) }),
  ]) {
    const client = lying(/\/files\?/, (bytes) => JSON.stringify(change(JSON.parse(text(bytes)))));
    await assert.rejects(client.result(job.jobId), (error) => error instanceof sdk.ReceiptRejectedError && /the list of the files in out/.test(error.message));
  }
});
