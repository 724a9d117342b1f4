// The list of a job's files is what the receipt states, whatever the server lists.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, serving } from "./support.mjs";

const { encodeListing, hex, ReceiptRejectedError, sha256, utf8 } = await load("index.js");
const { Http } = await load("http.js");
const { listResultFiles } = await load("result-files.js");

const DATA = utf8("true"), OTHER = utf8("false");
const file = (path, data) => ({ path, kind: "file", sizeBytes: data.length, sha256: sha256(data) });
const inside = [file("a", DATA), { path: "b", kind: "directory" }, file("b/c", OTHER)];
const left = inside.map((entry) => ({ ...entry, path: `out/${entry.path}` }));
const single = { path: "one", kind: "file", sha256: sha256(DATA) };
const tree = { path: "out", kind: "tree", sha256: sha256(encodeListing(inside)) };
const directory = { path: "out", kind: "directory" };

/** List the files of a job that left these outputs, at a server that lists those files. */
function listed(products, files) {
  const receipt = { asked: { files: { outputs: products.map(({ path }) => path) } }, files: products };
  return serving(
    (_, response) => response.end(JSON.stringify({ files })),
    (url) => listResultFiles(new Http({ url }), "/v1/jobs/x", receipt, new AbortController().signal),
  );
}

test("the files of all outputs are listed, with the digests that the node signed", async () => {
  const found = await listed([single, tree], [file("one", DATA), directory, ...left]);

  assert.deepEqual([...found].map(({ path, sizeBytes, sha256: digest }) => [path, sizeBytes, digest]), [
    ["one", 4, sha256(DATA)], ["out/a", 4, sha256(DATA)], ["out/b/c", 5, sha256(OTHER)],
  ]);
  assert.deepEqual(found.directories, ["out/b"]);
});

/** Digest of the first entry, and behind it the bytes of those that follow in the listing. */
const swallowing = (() => {
  const digest = sha256(DATA), whole = hex(encodeListing(inside));
  return whole.slice(whole.indexOf(digest));
})();

for (const [why, products, files] of [
  ["a file a second time, with another digest", [single], [file("one", DATA), file("one", OTHER)]],
  ["a file as a directory, too", [single], [file("one", DATA), { path: "one", kind: "directory" }]],
  ["a file with another digest", [single], [file("one", OTHER)]],
  ["no file", [single], []],
  ["a file without its size", [single], [{ ...file("one", DATA), sizeBytes: undefined }]],
  ["a tree without one of its files", [tree], [directory, ...left.slice(0, 2)]],
  ["a file of a tree twice", [tree], [directory, ...left, left[0]]],
  ["a size that is no number", [tree], [directory, { ...left[0], sizeBytes: "much" }, ...left.slice(1)]],
]) {
  test(`refused: a list with ${why}`, () => assert.rejects(listed(products, files), ReceiptRejectedError));
}

test("a digest that swallows the entries behind it hides no file", async () => {
  const found = await listed([tree], [directory, { ...left[0], sha256: swallowing }]);

  assert.deepEqual([...found].map(({ path, sha256: digest }) => [path, digest]), [["out/a", sha256(DATA)], ["out/b/c", sha256(OTHER)]]);
  assert.deepEqual(found.directories, ["out/b"]);
});
