// The output that a run here keeps, in whatever pieces the guest writes it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./support.mjs";

const sdk = await load("index.js");
const TIMES = 200_000;
// Calls fd_write for one byte, "x", 200,000 times.
const BYTEWISE = sdk.unhex(
  "0061736d01000000010c0260047f7f7f7f017f60000002230116776173695f736e617073686f745f7072657669657731" +
    "0866645f77726974650000030201010503010040071302066d656d6f72790200065f737461727400010a24012201017f" +
    "03404101418008410141c00010001a200041016a220041c09a0c490d000b0b0b16020041800" +
    "80b080008000001000000004180100b0178",
);

test("a guest that writes single bytes runs to its end", () => {
  const limits = { gas: 10n ** 9n, memoryBytes: 8n << 20n, outputBytes: 1n << 20n };
  const ran = sdk.execute({ module: BYTEWISE, args: [], env: [], stdin: new Uint8Array(0), seed: "00".repeat(32), limits });

  assert.deepEqual(ran.outcome, { kind: "exited", code: 0 });
  assert.equal(ran.stdout.length, TIMES);
  assert.ok(ran.stdout.every((byte) => byte === 0x78));
});

test("the output before the limit is kept", () => {
  const limits = { gas: 10n ** 9n, memoryBytes: 8n << 20n, outputBytes: 70_001n };
  const ran = sdk.execute({ module: BYTEWISE, args: [], env: [], stdin: new Uint8Array(0), seed: "00".repeat(32), limits });

  assert.deepEqual([ran.outcome, ran.stdout.length], [{ kind: "output_limit" }, 70_001]);
});
