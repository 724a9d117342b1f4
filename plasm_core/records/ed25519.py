"""The valid encodings of Ed25519 keys and signatures (docs/receipts.md, "Keys and signatures").

RFC 8032 lets implementations differ on points of small order and non-canonical encodings, and libraries do. These
rules are checked before a library is called, so that all libraries agree.
"""

from __future__ import annotations

PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point (RFC 8032, section 5.1)."""
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022

_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})
"""The y-coordinates of the eight points whose order divides 8. With x and with -x they are of small order."""


def point_problem(encoded: bytes) -> str | None:
    """Return why 32 bytes cannot be an acceptable encoding of a point (RFC 8032, section 5.1.3), or None.

    It is not checked that the curve has a point with that y-coordinate: without one, no signature is valid.
    """
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    if y >= _P:
        return "it is not canonically encoded"
    if y in _SMALL_ORDER_Y:
        return "it is a point of small order, under which anyone can sign"
    return None


def key_problem(public_key: bytes) -> str | None:
    """Return why bytes are not an acceptable Ed25519 public key (wrong length, not canonical, small order), or None."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        return f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes"
    problem = point_problem(public_key)
    return None if problem is None else f"the Ed25519 key proves nothing: {problem}"


def is_canonical_signature(signature: bytes) -> bool:
    """Return whether R is an acceptable point and S is below the group's order (RFC 8032, section 5.1.7)."""
    return (
        len(signature) == SIGNATURE_BYTES
        and point_problem(signature[:32]) is None
        and int.from_bytes(signature[32:], "little") < _L
    )
