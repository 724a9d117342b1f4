"""The envelope: a signed payload (DSSE 1.0.2).

What is signed are the payload's bytes as sent. Nothing is ever re-encoded to be checked.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from typing import Any

import attrs

from plasm_core.errors import InvalidRecordError
from plasm_core.records.converter import encode_plain, parse_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_ENVELOPE_BYTES = 1 << 20
MAX_SIGNATURES = 64
_SMALL_BYTES = 8192
"""Most have some 3,000 bytes. Larger ones are parsed each time."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the Pre-Authentication Encoding of a payload: the bytes that are signed (DSSE, protocol.md)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_key: bytes) -> str:
    """Return the keyid of an Ed25519 public key, as securesystemslib computes it. A keyid is a hint, not a proof."""
    text = f'{{"keytype":"ed25519","keyval":{{"public":"{public_key.hex()}"}},"scheme":"ed25519"}}'
    return hashlib.sha256(text.encode()).hexdigest()


@attrs.frozen(kw_only=True)
class Signature:
    """One signature over the payload's PAE: 64 raw bytes for Ed25519."""

    key_id: str
    sig: bytes


@attrs.frozen(kw_only=True)
class Envelope:
    """A payload, its media type and its signatures."""

    payload: bytes = attrs.field(repr=False)
    payload_type: str = PAYLOAD_TYPE
    signatures: tuple[Signature, ...] = attrs.field(
        validator=[attrs.validators.min_len(1), attrs.validators.max_len(MAX_SIGNATURES)]
    )

    @property
    def signed_bytes(self) -> bytes:
        """The bytes that each signature signs."""
        return pae(self.payload_type, self.payload)

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as plain data, with base64 in the standard alphabet."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": item.key_id, "sig": base64.b64encode(item.sig).decode()} for item in self.signatures
            ],
        }

    def to_json(self) -> bytes:
        """Encode the envelope as JSON, with base64 in the standard alphabet."""
        return encode_plain(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes) -> Envelope:
        """Parse an envelope. Unknown fields are ignored. Raises: `InvalidRecordError`."""
        return _parsed_lately(data) if len(data) <= _SMALL_BYTES else _parsed(data)

    @classmethod
    def from_value(cls, value: Any) -> Envelope:
        """Read an envelope from parsed JSON. Unknown fields are ignored. Raises: `InvalidRecordError`."""
        problems: list[tuple[str, str]] = []
        if not isinstance(value, dict):
            raise InvalidRecordError("envelope", [("", "expected an object")])
        payload = _base64_field(value, "payload", "payload", problems)
        payload_type = _text_field(value, "payloadType", "payloadType", problems)
        signatures = []
        listed = value.get("signatures")
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SIGNATURES:
            problems.append(("signatures", f"expected a list of 1 to {MAX_SIGNATURES} signatures"))
            listed = []
        for index, item in enumerate(listed):
            where = f"signatures[{index}]"
            if not isinstance(item, dict):
                problems.append((where, "expected an object"))
                continue
            hint = _text_field(item, "keyid", f"{where}.keyid", problems) if "keyid" in item else ""
            sig = _base64_field(item, "sig", f"{where}.sig", problems)
            signatures.append(Signature(key_id=hint, sig=sig))
        if problems:
            raise InvalidRecordError("envelope", problems)
        return cls(payload=payload, payload_type=payload_type, signatures=tuple(signatures))


def _parsed(data: bytes) -> Envelope:
    return Envelope.from_value(parse_json(data, record="envelope", maximum=MAX_ENVELOPE_BYTES))


_parsed_lately = functools.lru_cache(maxsize=64)(_parsed)
"""The verifiers read a receipt's envelope, and the result has it too. It is frozen, so both may share it."""


def _text_field(value: dict[str, Any], name: str, where: str, problems: list[tuple[str, str]]) -> str:
    found = value.get(name)
    if not isinstance(found, str) or len(found) > 1024:
        problems.append((where, "expected a string of at most 1024 characters"))
        return ""
    return found


def _base64_field(value: dict[str, Any], name: str, where: str, problems: list[tuple[str, str]]) -> bytes:
    found = value.get(name)
    try:
        return decode_base64(found)
    except ValueError as exc:
        problems.append((where, str(exc)))
        return b""


def decode_base64(text: object) -> bytes:
    """Decode canonical, padded base64 in either alphabet. Raises: ValueError.

    Stray bits and characters, which lax decoders ignore, are refused: no byte of a signed envelope can be changed
    without an effect.
    """
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("expected base64")
    standard = text.replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(standard, validate=True)
    except binascii.Error:
        raise ValueError("expected base64") from None
    if base64.b64encode(data).decode() != standard:
        raise ValueError("expected canonical base64")
    return data
