/** The handle: job id, secret and node in one text, which opens a job's output again. */

import { base64, concat, equal, hex, unbase64, unhex, type Bytes } from "./bytes.js";
import { sha256Bytes, webCrypto } from "./digest.js";
import { InvalidRecordError } from "./errors.js";
import { PeerId } from "./peer.js";

const PREFIX = "phase0-";

export class Handle {
  constructor(
    readonly jobId: string,
    readonly secret: Bytes,
    readonly peer: PeerId,
  ) {}

  /** Parse a handle's text. Throws: `InvalidRecordError`. */
  static parse(text: string): Handle {
    const fail = (problem: string): never => {
      throw new InvalidRecordError("handle", "", problem);
    };
    if (!/^phase0-[A-Za-z0-9_-]{1,256}$/.test(text)) fail(`expected ${PREFIX}… and base64url`);
    const encoded = text.slice(PREFIX.length);
    try {
      const whole = unbase64(encoded.padEnd(Math.ceil(encoded.length / 4) * 4, "="));
      const body = whole.subarray(0, -4);
      if (!equal(sha256Bytes(body).subarray(0, 4), whole.subarray(-4))) fail("cut short or mistyped");
      return new Handle(hex(body.subarray(0, 32)), body.slice(32, 64), PeerId.fromMultihash(body.subarray(64)));
    } catch (error) {
      if (error instanceof RangeError) fail("cut short or mistyped");
      if (error instanceof InvalidRecordError) throw error;
      return fail(error instanceof Error ? error.message : String(error));
    }
  }

  toString(): string {
    const body = concat(unhex(this.jobId), this.secret, this.peer.multihash);
    const whole = base64(concat(body, sha256Bytes(body).subarray(0, 4)));
    return PREFIX + whole.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  }

  /** The token for a node: HMAC-SHA256 of the secret and the PeerId's multihash. */
  async token(peer: PeerId = this.peer): Promise<Bytes> {
    const key = await webCrypto().importKey("raw", this.secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    return new Uint8Array(await webCrypto().sign("HMAC", key, peer.multihash));
  }
}
