/** Merkle trees with SHA-256: root, inclusion proof, and its verification (RFC 6962, 2.1; RFC 9162, 2.1.3). */

import { concat, equal, type Bytes } from "./bytes.js";
import { sha256Bytes } from "./digest.js";

export const MAX_LEAVES = 2 ** 32;

/** The hash of a leaf's data, 32 bytes. */
export function leafHash(data: Uint8Array): Bytes {
  return sha256Bytes(concat(Uint8Array.of(0), data));
}

function node(left: Uint8Array, right: Uint8Array): Bytes {
  return sha256Bytes(concat(Uint8Array.of(1), left, right));
}

function joined(level: readonly Uint8Array[]): Uint8Array[] {
  const above: Uint8Array[] = [];
  for (let at = 0; at < level.length; at += 2) {
    const left = level[at] as Uint8Array, right = level[at + 1];
    above.push(right === undefined ? left : node(left, right));
  }
  return above;
}

/** The root over leaf hashes, in order. That of no leaves is the hash of nothing. */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  let level = [...leaves];
  while (level.length > 1) level = joined(level);
  return level[0] ?? sha256Bytes(new Uint8Array(0));
}

/** The inclusion proof of a leaf: the hashes beside its way to the root, from below. Throws: RangeError. */
export function inclusionProof(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (!Number.isInteger(index) || index < 0 || index >= leaves.length) throw new RangeError(`there is no leaf ${index}`);
  const proof: Uint8Array[] = [];
  let level = [...leaves];
  for (; level.length > 1; level = joined(level), index = Math.floor(index / 2)) {
    const beside = level[index % 2 === 0 ? index + 1 : index - 1];
    if (beside !== undefined) proof.push(beside);
  }
  return proof;
}

/** Whether a proof leads from a leaf hash at an index, in a tree of so many leaves, to a root (RFC 9162, 2.1.3.2). */
export function isIncluded(
  leaf: Uint8Array, index: number, size: number, proof: readonly Uint8Array[], root: Uint8Array,
): boolean {
  if (!Number.isInteger(index) || index < 0 || index >= size || size > MAX_LEAVES) return false;
  if (leaf.length !== 32 || proof.some((item) => item.length !== 32)) return false;
  let position = index, last = size - 1, computed: Uint8Array = leaf;
  const half = (value: number): number => Math.floor(value / 2); // beyond 32 bits, where >> does not reach
  for (const item of proof) {
    if (last === 0) return false;
    if (position % 2 === 1 || position === last) {
      computed = node(item, computed);
      while (position % 2 === 0 && position !== 0) {
        position = half(position);
        last = half(last);
      }
    } else computed = node(computed, item);
    position = half(position);
    last = half(last);
  }
  return last === 0 && equal(computed, root);
}
