"""The one place where an Ed25519 signature is checked (docs/receipts.md, "Keys and signatures")."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm_core.records.ed25519 import is_canonical_signature, key_problem
from plasm_core.records.peer import PeerId


def is_signature_of(peer: PeerId, signature: bytes, message: bytes) -> bool:
    """Return whether the signature over a message is the peer's: pure Ed25519, without a cofactor."""
    if key_problem(peer.public_key) is not None or not is_canonical_signature(signature):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(peer.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
