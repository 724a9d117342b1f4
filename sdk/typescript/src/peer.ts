/** PeerIds: a node is named by its Ed25519 public key (libp2p specification, "Peer Ids and Keys"). */

import { base58, concat, equal, unbase58, unhex, type Bytes } from "./bytes.js";
import { keyProblem } from "./ed25519.js";
import { PlasmError } from "./errors.js";

const PREFIX = unhex("002408011220"); // identity multihash of 36 bytes: protobuf PublicKey { Ed25519, 32 bytes }
const TEXT = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const NO_PEER_ID = "not the PeerId of an Ed25519 key (12D3KooW…)";

export class PeerId {
  private constructor(
    readonly publicKey: Bytes,
    private readonly text: string,
  ) {}

  /** Parse the text form. Throws: `PlasmError`, also for a weak key. */
  static parse(text: string): PeerId {
    if (!TEXT.test(text)) throw new PlasmError(NO_PEER_ID);
    return PeerId.fromMultihash(unbase58(text));
  }

  /** Parse the binary form, 38 bytes. Throws: `PlasmError`, also for a weak key. */
  static fromMultihash(data: Uint8Array): PeerId {
    if (data.length !== 38 || !equal(data.subarray(0, PREFIX.length), PREFIX)) throw new PlasmError(NO_PEER_ID);
    return PeerId.fromPublicKey(data.subarray(PREFIX.length));
  }

  /** The PeerId of a raw public key. Throws: `PlasmError` if the key is weak. */
  static fromPublicKey(publicKey: Uint8Array): PeerId {
    const problem = keyProblem(publicKey);
    if (problem !== undefined) throw new PlasmError(problem);
    return new PeerId(Uint8Array.from(publicKey), base58(concat(PREFIX, publicKey)));
  }

  get multihash(): Bytes {
    return concat(PREFIX, this.publicKey);
  }

  toString(): string {
    return this.text;
  }
}
