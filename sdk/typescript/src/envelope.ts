/** The envelope: a signed payload (DSSE 1.0.2). The signature covers the payload's bytes as sent. */

import { concat, unbase64, utf8, type Bytes } from "./bytes.js";
import { verifySignature } from "./ed25519.js";
import { InvalidRecordError } from "./errors.js";
import { characters, Fields } from "./fields.js";
import { parseJson, type Json } from "./json.js";
import { PeerId } from "./peer.js";

export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
export const MAX_ENVELOPE_BYTES = 1 << 20;
export const MAX_SIGNATURES = 64;

export interface Signature {
  readonly keyId: string;
  readonly sig: Bytes;
}

export interface Envelope {
  readonly payload: Bytes;
  readonly payloadType: string;
  readonly signatures: readonly Signature[];
}

/** The Pre-Authentication Encoding of a payload: the bytes that are signed (DSSE, protocol.md). */
export function pae(payloadType: string, payload: Uint8Array): Bytes {
  const kind = utf8(payloadType);
  return concat(utf8(`DSSEv1 ${kind.length} `), kind, utf8(` ${payload.length} `), payload);
}

/** Parse an envelope's JSON. Unknown fields are ignored. Throws: `InvalidRecordError`. */
export function parseEnvelope(json: Uint8Array): Envelope {
  return readEnvelope(parseJson(json, "envelope", MAX_ENVELOPE_BYTES));
}

/** Read an envelope from parsed JSON, with at least `least` signatures. Throws: `InvalidRecordError`. */
export function readEnvelope(value: Json | undefined, least = 1): Envelope {
  const fields = new Fields(value, "envelope");
  const listed = fields.get("signatures");
  if (!Array.isArray(listed) || listed.length < least || listed.length > MAX_SIGNATURES) {
    fields.fail("signatures", `expected a list of ${least} to ${MAX_SIGNATURES} signatures`);
  }
  return {
    payload: bytesOf(fields, "payload"),
    payloadType: textOf(fields, "payloadType"),
    signatures: fields.list("signatures").map((item) => ({
      keyId: item.has("keyid") ? textOf(item, "keyid") : "",
      sig: bytesOf(item, "sig"),
    })),
  };
}

function textOf(fields: Fields, name: string): string {
  const value = fields.get(name);
  if (typeof value !== "string" || characters(value) > 1024) fields.fail(name, "expected a string of at most 1024 characters");
  return value;
}

function bytesOf(fields: Fields, name: string): Bytes {
  const value = fields.get(name);
  if (typeof value !== "string") fields.fail(name, "expected base64");
  try {
    return unbase64(value);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InvalidRecordError("envelope", fields.where(name), error.message);
  }
}

/** Whether one of the signatures of an envelope is a node's. Throws: `PlatformError`. */
export async function isSignedBy(envelope: Envelope, peer: PeerId): Promise<boolean> {
  const message = pae(envelope.payloadType, envelope.payload);
  for (const { sig } of envelope.signatures) if (await verifySignature(peer.publicKey, message, sig)) return true;
  return false;
}
