// Signed envelopes (docs/receipts.md, "The envelope").

import { createPublicKey, verify } from "node:crypto";

const SPKI_OF_ED25519 = Buffer.from("302a300506032b6570032100", "hex"); // RFC 8410
const MULTIHASH_BYTES = 38;

// The raw key within a PeerId of an Ed25519 key: identity multihash of a protobuf (libp2p specification, "peer-ids").
function keyOf(multihash) {
  const head = Buffer.from("002408011220", "hex");
  if (multihash.length !== MULTIHASH_BYTES || !head.equals(multihash.subarray(0, 6))) throw new Error("not the PeerId of an Ed25519 key");
  return createPublicKey({ key: Buffer.concat([SPKI_OF_ED25519, multihash.subarray(6)]), format: "der", type: "spki" });
}

// Return the payload that a peer signed, parsed. Throws unless one of the signatures is the peer's.
export function open(text, payloadType, multihash) {
  const envelope = JSON.parse(text);
  if (envelope.payloadType !== payloadType) throw new Error(`a payload of type ${envelope.payloadType}`);
  const body = Buffer.from(envelope.payload, "base64");
  const pae = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${body.length} `), body]);
  const key = keyOf(multihash);
  const signed = envelope.signatures.some(({ sig }) => verify(null, pae, key, Buffer.from(sig, "base64")));
  if (!signed) throw new Error("it is not signed by the peer that was dialled");
  return JSON.parse(body.toString("utf8"));
}
