"""PeerIds as CIDs: version 1, codec libp2p-key, in the multibases that libp2p's tools print.

Source: libp2p specification, "Peer Ids and Keys", String representation; multibase. People write PeerIds in this
form too; records and handles hold the base58 form alone.
"""

from __future__ import annotations

import base64
import binascii

from plasm_core.records.peer import PeerId, base58_decode

_PREFIX = b"\x01\x72"  # version 1, then the multicodec libp2p-key
_MAX_LENGTH = 128
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def parse_peer(text: str) -> PeerId:
    """Read a PeerId in either of its text forms, `12D3KooW…` or a CID such as `bafz…` or `k51…`.

    Raises: ValueError.
    """
    text = text.strip()
    if text.startswith("1") or len(text) > _MAX_LENGTH:
        return PeerId.parse(text)
    data = _decoded(text)
    if data is None:
        return PeerId.parse(text)
    if not data.startswith(_PREFIX):
        raise ValueError("a CID, but not that of a libp2p key")
    return PeerId.from_multihash(data[len(_PREFIX) :])


def _decoded(text: str) -> bytes | None:
    """Decode multibase. Return None if the first letter names no base. Raises: ValueError."""
    base, rest = text[:1], text[1:]
    try:
        if base in ("b", "B"):
            upper = _one_case(rest, base.isupper()).upper()
            data = base64.b32decode(upper + "=" * (-len(upper) % 8))
            if base64.b32encode(data).decode().rstrip("=") != upper:
                raise ValueError("bits are left over")
            return data
        if base in ("f", "F"):
            return binascii.unhexlify(_one_case(rest, base.isupper()))
        if base in ("k", "K"):
            return _base36(_one_case(rest, base.isupper()).lower())
        if base == "z":
            return base58_decode(rest)
    except ValueError as exc:
        raise ValueError(f"not a CID: {exc}") from None
    return None


def _one_case(text: str, upper: bool) -> str:
    if not text.isascii() or text != (text.upper() if upper else text.lower()):
        raise ValueError("a character outside the alphabet of its base")
    return text


def _base36(text: str) -> bytes:
    if any(character not in _BASE36 for character in text):
        raise ValueError("a character outside the alphabet of its base")
    number = int(text or "0", 36)
    zeros = len(text) - len(text.lstrip("0"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
