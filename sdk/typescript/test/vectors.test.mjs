// The vectors that pytest and PHPUnit check too.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load, vectors } from "./support.mjs";

const sdk = await load("index.js");
const { hex, unhex, utf8 } = sdk;
const identities = vectors("identities"), keys = vectors("keys"), files = vectors("files");

for (const { name, items_hex, encoding_hex, digest } of identities.lists) {
  test(`list encoding: ${name}`, () => {
    assert.equal(hex(sdk.encodeList(items_hex.map(unhex))), encoding_hex);
    assert.equal(sdk.listDigest(items_hex.map(unhex)), digest);
  });
}

const taskOf = ({ gas, memory, output, ...task }) => ({
  ...task,
  limits: { gas: BigInt(gas), memoryBytes: BigInt(memory), outputBytes: BigInt(output) },
});
for (const { name, task, preimage_hex, task_digest } of identities.tasks) {
  test(`task digest: ${name}`, () => {
    assert.equal(hex(sdk.taskPreimage(taskOf(task))), preimage_hex);
    assert.equal(sdk.taskDigest(taskOf(task)), task_digest);
  });
}

for (const { name, manifest, job_id, task_digest } of identities.manifests) {
  test(`manifest: ${name}`, () => {
    const parsed = sdk.Manifest.parse(utf8(manifest));
    assert.equal(parsed.jobId, job_id);
    assert.equal(parsed.taskDigest, task_digest);
  });
}

for (const { name, manifest, task_digest } of files.tasks) {
  test(`task with files: ${name}`, () => {
    assert.equal(sdk.Manifest.parse(utf8(JSON.stringify(manifest))).taskDigest, task_digest);
  });
}

for (const key of identities.keys) {
  test(`key: ${key.peer_id}`, () => {
    const peer = sdk.PeerId.parse(key.peer_id);
    assert.equal(hex(peer.publicKey), key.public_key_hex);
    assert.equal(hex(peer.multihash), key.multihash_hex);
    assert.equal(sdk.PeerId.fromPublicKey(unhex(key.public_key_hex)).toString(), key.peer_id);
    assert.equal(sdk.keyId(unhex(key.public_key_hex)), key.keyid);
  });
}

for (const { text, job_id, secret_hex, peer_id, tokens } of identities.handles) {
  test(`handle: ${text.slice(0, 20)}`, async () => {
    const handle = sdk.Handle.parse(text);
    assert.deepEqual([handle.jobId, hex(handle.secret), String(handle.peer)], [job_id, secret_hex, peer_id]);
    assert.equal(handle.toString(), text);
    for (const token of tokens) {
      assert.equal(hex(await handle.token(sdk.PeerId.parse(token.peer_id))), token.token_hex);
    }
    for (const damaged of [text.slice(0, -1), `${text}A`, text.replace(/.$/, (last) => (last === "A" ? "B" : "A"))]) {
      assert.throws(() => sdk.Handle.parse(damaged), sdk.InvalidRecordError);
    }
  });
}

for (const { payload_type, payload_hex, pae_hex } of identities.pae) {
  test(`pre-authentication encoding: ${payload_type} ${payload_hex.slice(0, 16)}`, () => {
    assert.equal(hex(sdk.pae(payload_type, unhex(payload_hex))), pae_hex);
  });
}

test("the signed receipt is read, and its signature is valid", async () => {
  const { envelope } = identities.envelope;
  const found = await sdk.verifyReceipt(envelope, { trusted: [identities.keys[0].peer_id] });
  assert.equal(found.receipt.node.toString(), sdk.parseReceipt(found.envelope.payload).node.toString());
  assert.equal(found.signer?.toString(), found.receipt.node.toString());
});

for (const { name, public_key_hex, peer_id, accepted } of keys.keys) {
  test(`key ${accepted ? "accepted" : "refused"}: ${name}`, () => {
    assert.equal(sdk.keyProblem(unhex(public_key_hex)) === undefined, accepted);
    if (accepted) assert.equal(sdk.PeerId.parse(peer_id).toString(), peer_id);
    else assert.throws(() => sdk.PeerId.parse(peer_id), sdk.PlasmError);
  });
}

for (const { name, public_key_hex, message_hex, signature_hex, valid } of keys.signatures) {
  test(`signature ${valid ? "valid" : "invalid"}: ${name}`, async () => {
    assert.equal(await sdk.verifySignature(unhex(public_key_hex), unhex(message_hex), unhex(signature_hex)), valid);
  });
}

for (const { name, statement, manifest, breaks } of vectors("consistency").cases) {
  test(`consistency: ${name}`, () => {
    const sent = manifest === null ? undefined : sdk.Manifest.parse(utf8(manifest));
    assert.deepEqual(sdk.contradictions(sdk.parseReceipt(utf8(statement)), sent).sort(), breaks);
  });
}

for (const { standing, words } of vectors("verdicts")) {
  test(`verdict: ${standing}`, () => {
    assert.equal(sdk.verdictWords(sdk.PeerId.parse(/12D3\w+/.exec(words)[0]), standing), words);
  });
}

for (const { name, manifest, task_digest } of files.entry_tasks) {
  test(`task with an entry: ${name}`, () => {
    assert.equal(sdk.Manifest.parse(utf8(JSON.stringify(manifest))).taskDigest, task_digest);
  });
}

for (const { name, proof, refused, differ, convicted, missing } of vectors("fraud").cases) {
  test(`fraud proof: ${name}`, async () => {
    if (refused !== null) {
      await assert.rejects(sdk.verifyFraud(utf8(proof)), (error) => error instanceof sdk.ProofRefusedError && error.code === refused);
      return;
    }
    const found = await sdk.verifyFraud(utf8(proof));
    assert.deepEqual([found.differ, found.convicted, found.missing], [differ, convicted, missing]);
  });
}

test("a fraud proof has at most 16 MiB", async () => {
  const { proof } = vectors("fraud").cases.find(({ refused }) => refused === null);
  const longest = new Uint8Array(16 << 20).fill(0x20);
  longest.set(utf8(proof));
  await sdk.verifyFraud(longest);
  const longer = new Uint8Array(longest.length + 1).fill(0x20);
  longer.set(longest);
  await assert.rejects(sdk.verifyFraud(longer), (error) => error.code === "malformed-proof" && /more than the/.test(error.message));
});
