"""Ed25519 public keys in the standard encoding: SubjectPublicKeyInfo in PEM (RFC 8410)."""

from __future__ import annotations

import base64
import re

from plasm_core.records.peer import PeerId

_PREFIX = bytes.fromhex("302a300506032b6570032100")


def public_key_pem(peer: PeerId) -> str:
    """Return a key as PEM, as openssl and cosign read it."""
    body = base64.b64encode(_PREFIX + peer.public_key).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def read_public_key(data: bytes) -> PeerId:
    """Read an Ed25519 public key from a PEM file. Raises: ValueError, also for a weak key."""
    match = re.search(rb"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]{1,4096})-----END PUBLIC KEY-----", data)
    if match is None:
        raise ValueError("not a public key in PEM form")
    der = base64.b64decode(b"".join(match[1].split()), validate=True)
    if len(der) != len(_PREFIX) + 32 or not der.startswith(_PREFIX):
        raise ValueError("not an Ed25519 public key")
    return PeerId.from_public_key(der[len(_PREFIX) :])
