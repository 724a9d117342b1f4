// The determinism vectors on this engine: output, outcome and gas.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { runs } from "./runs.mjs";
import { corpus, dist, load, vectors } from "./support.mjs";

const { unhex } = await load("index.js");
// (global i32 (i32.add (i32.const 1) (i32.const 2))); (func (try_table (catch_all 0)))
const PROBES = {
  "extended-const": "0061736d010000000609017f00410141026a0b",
  exceptions: "0061736d01000000010401600000030201000a0a0108001f400102000b0b",
};
const lacking = Object.keys(PROBES).filter((name) => !WebAssembly.validate(unhex(PROBES[name])));

const answers = await new Promise((resolve, reject) => {
  const worker = new Worker(new URL("determinism.worker.mjs", import.meta.url), {
    resourceLimits: { stackSizeMb: 64 }, env: { ...process.env, PLASM_SDK: dist },
  });
  worker.once("message", resolve);
  worker.once("error", reject);
  worker.once("exit", () => reject(new Error("the worker ended without an answer")));
});

runs({ vectors, corpus, unhex }).forEach(({ name, features }, index) => {
  const lacked = features.filter((feature) => lacking.includes(feature));
  test(`${name}${lacked.length > 0 ? `: this V8 lacks ${lacked.join(", ")}` : ""}`, () => {
    if (lacked.length > 0) assert.match(answers[index].refused, /^not a valid WebAssembly module/);
    else assert.deepEqual(answers[index], { differs: [] });
  });
});
