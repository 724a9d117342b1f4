"""Merkle trees with SHA-256: root, inclusion proof, and its verification (RFC 6962, section 2.1; RFC 9162, 2.1.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32
MAX_LEAVES = 2**32
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(_LEAF + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, in order. That of no leaves is the hash of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    # Joining neighbours, and passing a last one without a neighbour on, is the split at powers of two from below.
    while len(level) > 1:
        level = _joined(level)
    return level[0]


def _joined(level: Sequence[bytes]) -> list[bytes]:
    pairs = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return pairs + ([level[-1]] if len(level) % 2 else [])


def inclusion(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the inclusion proof of a leaf: the sibling hashes on its path to the root, leaf level first. Raises:
    IndexError.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(index)
    proof, level = [], list(leaves)
    while len(level) > 1:
        beside = index ^ 1
        if beside < len(level):
            proof.append(level[beside])
        level, index = _joined(level), index // 2
    return tuple(proof)


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Return whether a proof leads from a leaf hash at an index to the root of a tree of so many leaves.

    This is the algorithm of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_LEAVES or any(len(item) != HASH_BYTES for item in proof):
        return False
    position, last, computed = index, size - 1, leaf
    for item in proof:
        if last == 0:
            return False
        if position % 2 == 1 or position == last:
            computed = _node(item, computed)
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            computed = _node(computed, item)
        position, last = position // 2, last // 2
    return last == 0 and computed == expected_root
