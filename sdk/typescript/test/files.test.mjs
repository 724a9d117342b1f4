// Jobs with files: trees and their listings, runs here, and the digests of what they leave.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { load, root, vectors } from "./support.mjs";

const sdk = await load("index.js");
const { JobTree, encodeListing, hex, readListing, sha256, unhex, utf8 } = sdk;
const { listings, refused_listings } = vectors("files");
const module = new Uint8Array(readFileSync(join(root, "plasm_core", "testing", "modules", "files.wasm")));
const data = Uint8Array.from({ length: 2560 }, (_, index) => index);

for (const { name, listing_hex, sha256: digest } of listings) {
  test(`listing: ${name}`, () => {
    const entries = [...readListing(unhex(listing_hex))];
    assert.equal(hex(encodeListing(entries.reverse())), listing_hex);
    assert.equal(sha256(encodeListing(entries)), digest);
  });
}

for (const { name, listing_hex } of refused_listings) {
  test(`listing refused: ${name}`, () => {
    assert.throws(() => [...readListing(unhex(listing_hex))], sdk.InvalidRecordError);
  });
}

test("a tree has the parents of its files, the directories of outputs, and tmp", async () => {
  const tree = await JobTree.of({ "in/data": "some", "/in/more/twin": utf8("some"), "empty/": null }, { outputs: ["out/", "log/x.txt"] });

  const entries = [...readListing(tree.listing)].map(({ path, kind }) => [path, kind]);
  assert.deepEqual(entries, [
    ["empty", "directory"], ["in", "directory"], ["in/data", "file"], ["in/more", "directory"], ["in/more/twin", "file"],
    ["log", "directory"], ["out", "directory"], ["tmp", "directory"],
  ]);
  assert.deepEqual(tree.outputs, ["out", "log/x.txt"]);
  assert.equal(sdk.fromUtf8(await tree.data()), "some"); // equal files are in the pack once
});

test("a pack is read again, and one whose bytes were changed is refused", async () => {
  const tree = await JobTree.of({ "in/data": data, text: new Blob(["text"]) });
  const pack = new Uint8Array(await tree.pack().arrayBuffer());

  const again = await JobTree.fromPack(new Blob([pack]));
  assert.deepEqual([again.digest, await again.data()], [tree.digest, await tree.data()]);
  assert.equal(tree.sizeBytes, pack.length);
  pack[pack.length - 1] ^= 1;
  const damaged = await JobTree.fromPack(new Blob([pack]));
  await assert.rejects(damaged.data(), sdk.InvalidRecordError);
  await assert.rejects(JobTree.fromPack(new Blob([pack.slice(0, -1)])), sdk.InvalidRecordError);
  await assert.rejects(JobTree.fromPack(new Blob([new Uint8Array([255, 255, 255, 255])])), sdk.InvalidRecordError);
});

for (const [why, files, terms] of [
  ["a file that is a directory too", { a: "x", "a/b": "y" }],
  ["a directory that is a file too", { "a/b": "y", a: "x" }],
  ["a path that leaves the tree", { "../x": "y" }],
  ["a file in place of the root", { ".": "y" }],
  ["a path that is there twice", { x: "1", "/x": "2" }],
  ["a directory with bytes", { "x/": "1" }],
  ["an output whose directory is a file", { out: "1" }, { outputs: ["out/"] }],
]) {
  test(`no tree: ${why}`, () => assert.rejects(JobTree.of(files, terms), sdk.PlasmError));
}

/** Run files.wasm, which copies in/data to out/copy, and writes its length to out/sub/length. */
async function ran(outputs) {
  const tree = await JobTree.of({ "in/data": data, "in/more": "second", "in/twin": "second" }, { outputs: ["out/"] });
  return sdk.execute({
    module, args: [], env: [], stdin: new Uint8Array(0), seed: "00".repeat(32), profile: "plasm.det/v2",
    limits: { gas: 100_000_000n, memoryBytes: 1n << 20n, outputBytes: 1n << 20n },
    files: {
      listing: tree.listing, data: await tree.data(), readOnly: ["in/more"], outputs,
      limits: { dataBytes: 5_000, entries: 40, descriptors: 12 },
    },
  });
}

test("a run here leaves the files, and uses the gas, that nodes do", async () => {
  const found = await ran(["out"]);

  assert.deepEqual(found.outcome, { kind: "exited", code: 0 });
  // Both are those of tests/agreement/test_files.py.
  assert.deepEqual(found.files, [{ path: "out", kind: "tree", sha256: "c396a3b6d446d24ea4d411a1fdc121cea31d2b8e1d145d4a904a4abe202658f6" }]);
  assert.equal(found.gasUsed, 17_516n);
});

test("a file and a directory are outputs of their own, and what is not there is none", async () => {
  const { files } = await ran(["out/copy", "out/sub", "nothing"]);
  const inner = encodeListing([{ path: "length", kind: "file", sizeBytes: 4, sha256: sha256(Uint8Array.of(0, 10, 0, 0)) }]);

  assert.deepEqual(files, [
    { path: "out/copy", kind: "file", sha256: sha256(data) },
    { path: "out/sub", kind: "tree", sha256: sha256(inner) },
  ]);
});

test("a run here keeps the root of the tree", async () => {
  const { files: [found] } = await ran(["."]);

  assert.deepEqual([found.path, found.kind], [".", "tree"]);
});
