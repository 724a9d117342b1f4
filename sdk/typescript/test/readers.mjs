// Reads inputs, a line each, `KIND BASE64`, and prints the results of this package's readers as tests/fuzz/readers.py has them.
import { createInterface } from "node:readline";
import { load } from "./support.mjs";

const sdk = await load("index.js");
const { hex, fromUtf8 } = sdk;
const [trusted] = process.argv.slice(2);

const numbers = ({ gas, memoryBytes, outputBytes }) => [gas, memoryBytes, outputBytes].map(Number);
const files = (of) => {
  if (of === undefined) return null;
  const { dataBytes, entries, descriptors } = of.limits;
  return [of.tree, of.readOnly, of.outputs, [dataBytes, entries, descriptors].map(Number)];
};
const task = (of) => [
  of.module, of.args, of.env, of.stdin, of.seed, ...numbers(of.limits), of.capabilities, of.entry ?? null, files(of.files),
];

const readers = {
  receipt(data) {
    const { asked, outcome, reproducible, gasUsed, stdout, stderr, claims, node, files: left } = sdk.parseReceipt(data);
    return [
      asked.jobId, asked.taskDigest, task(asked), outcome.kind, outcome.code ?? null, outcome.trap ?? null,
      outcome.detail ?? null, reproducible, String(gasUsed),
      stdout.sha256, String(stdout.sizeBytes), stderr.sha256, String(stderr.sizeBytes),
      [claims.startedAt, claims.finishedAt],
      String(claims.wallTimeMs), String(claims.cpuTimeMs), String(claims.peakMemoryBytes),
      claims.runtime.name, claims.runtime.version, claims.isolation, claims.attempt,
      String(node), sdk.contradictions(sdk.parseReceipt(data)).sort(),
      left.map(({ kind, path, sha256 }) => [`${kind}:${path}`, sha256]),
    ];
  },
  envelope(data) {
    const { payload, payloadType, signatures } = sdk.parseEnvelope(data);
    return [hex(payload), payloadType, signatures.map(({ keyId, sig }) => [keyId, hex(sig)])];
  },
  manifest(data) {
    const found = sdk.Manifest.parse(data);
    return [found.jobId, found.taskDigest, task(found), found.wallTimeS, found.cpu, found.attempts, found.nonce];
  },
  async handle(data) {
    const handle = sdk.Handle.parse(fromUtf8(data));
    return [handle.jobId, String(handle.peer), hex(await handle.token()), String(handle)];
  },
  peer: (data) => [hex(sdk.PeerId.parse(fromUtf8(data)).multihash)],
  multihash: (data) => [String(sdk.PeerId.fromMultihash(data))],
  async verified(data) {
    const { decision, reasons, signer, receipt } = await sdk.verifyReceipt(data, { trusted: [trusted] });
    if (decision !== "accept") throw new sdk.PlasmError(reasons.join("; "));
    return [String(signer), String(receipt.gasUsed)];
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [kind, text] = line.split(" ");
  let found = null;
  try {
    found = await readers[kind](new Uint8Array(Buffer.from(text ?? "", "base64")));
  } catch (error) {
    // Any other error than a reader's own is a finding.
    if (!(error instanceof sdk.PlasmError || error instanceof TypeError)) throw error;
  }
  // As numbers of any size, which Python reads as they are.
  const json = JSON.stringify(found, (_, value) => (typeof value === "bigint" ? `@${value}@` : value));
  process.stdout.write(`${json.replace(/"@(-?[0-9]+)@"/g, "$1")}\n`);
}
