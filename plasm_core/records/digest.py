"""SHA-256 digests, and the encodings under them (docs/determinism.md, "Three identities")."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest of some bytes, in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def encode_list(items: Iterable[bytes]) -> bytes:
    """Return u64le(len) ‖ bytes for each item, in order."""
    return b"".join(struct.pack("<Q", len(item)) + item for item in items)


def decode_list(data: bytes) -> tuple[bytes, ...]:
    """Read u64le(len) ‖ bytes for each item, the encoding of `args` and `env`. Raises: ValueError."""
    items = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < 8:
            raise ValueError("cut short within a length")
        (length,) = struct.unpack_from("<Q", data, offset)
        offset += 8
        if length > len(data) - offset:
            raise ValueError("an item is longer than the remaining bytes")
        items.append(data[offset : offset + length])
        offset += length
    return tuple(items)


def list_digest(items: Iterable[bytes]) -> str:
    """Return the SHA-256 digest of a list's encoding, which identifies `args` and `env` in manifests and receipts."""
    return sha256(encode_list(items))


def tagged_digest(fields: Iterable[tuple[str, bytes]]) -> str:
    """Return the SHA-256 digest of u32le(len(name)) ‖ name ‖ u64le(len(value)) ‖ value for each field, in order."""
    digest = hashlib.sha256()
    for name, value in fields:
        encoded = name.encode()
        digest.update(struct.pack("<I", len(encoded)) + encoded + struct.pack("<Q", len(value)) + value)
    return digest.hexdigest()
