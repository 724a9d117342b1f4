// Verifies documents about batches, a line each, `TRUSTED BASE64`, and prints each decision.
import { createInterface } from "node:readline";
import { load } from "./support.mjs";

const { PeerId, verifyBatch } = await load("index.js");
for await (const line of createInterface({ input: process.stdin })) {
  const [trusted, text] = line.split(" ");
  const found = await verifyBatch(new Uint8Array(Buffer.from(text, "base64")), [PeerId.parse(trusted)]);
  process.stdout.write(`${found.decision}\n`);
}
