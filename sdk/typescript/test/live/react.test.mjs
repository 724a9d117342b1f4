// useJob in a React tree, against a real `plasm web`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import { dist, load, root } from "../support.mjs";

const require = createRequire(join(dist, "here.cjs"));
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const { createElement, act } = require("react");
const { create } = require("react-test-renderer");
const { PlasmClient } = await load("index.js");
const { useJob } = await load("react.js");
const hello = new Uint8Array(readFileSync(join(root, "examples", "hello", "hello.wasm")));

test("a component shows a job's output and its verified receipt, and stops following it when it is unmounted", async () => {
  const client = new PlasmClient({ url: process.env.PLASM_URL, token: process.env.PLASM_TOKEN });
  const { jobId } = await client.submit(hello, { args: ["some", "words"] });
  let ended;
  const end = new Promise((resolve) => (ended = resolve));
  function Shown() {
    const { job, stdout, result } = useJob(client, jobId);
    if (result !== undefined) ended();
    return createElement("p", null, job?.state, " ", new TextDecoder().decode(stdout.bytes), " ", result?.words);
  }
  let tree;
  await act(async () => {
    tree = create(createElement(Shown));
  });
  await act(() => end);

  const shown = tree.toJSON().children.join("");
  assert.match(shown, /^COMPLETE sdrow emos\n receipt verified ✓ signed by 12D3KooW/);
  await act(async () => tree.unmount());
  assert.equal(tree.toJSON(), null);
});
