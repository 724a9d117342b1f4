"""Signing and opening capability records."""

from __future__ import annotations

from datetime import datetime, timedelta

from plasm_core.abc import Signer
from plasm_core.errors import InvalidRecordError
from plasm_core.records.capabilities import CAPABILITIES_TYPE, CapabilityRecord
from plasm_core.records.envelope import Envelope, Signature, key_id, pae
from plasm_core.records.peer import PeerId
from plasm_core.signatures import is_signature_of

CLOCK_SKEW = timedelta(minutes=5)
"""How wrong another machine's clock may be."""
LONGEST_LIFE = timedelta(hours=24)


def sign_record(record: CapabilityRecord, signer: Signer) -> Envelope:
    """Sign a node's record with its own key."""
    payload = record.to_json()
    signature = Signature(
        key_id=key_id(signer.peer_id.public_key), sig=signer.sign(pae(CAPABILITIES_TYPE, payload))
    )
    return Envelope(payload=payload, payload_type=CAPABILITIES_TYPE, signatures=(signature,))


def open_record(envelope_json: bytes, peer: PeerId, *, now: datetime) -> CapabilityRecord:
    """Return the record in an envelope, if it is that peer's own, signed by its key, and of now.

    Raises: `InvalidRecordError`.
    """

    def invalid(problem: str) -> InvalidRecordError:
        return InvalidRecordError("capability record", [("", problem)])

    envelope = Envelope.from_json(envelope_json)
    if envelope.payload_type != CAPABILITIES_TYPE:
        raise invalid(f"payload of type {envelope.payload_type[:100]}")
    message = envelope.signed_bytes
    if not any(is_signature_of(peer, signature.sig, message) for signature in envelope.signatures):
        raise invalid(f"not signed by {peer}")
    record = CapabilityRecord.from_json(envelope.payload)
    if record.peer != str(peer):
        raise invalid(f"it is of {record.peer}, not of {peer}")
    if record.expires_at <= now - CLOCK_SKEW:
        raise invalid(f"it expired at {record.expires_at.isoformat()}")
    if record.issued_at > now + CLOCK_SKEW:
        raise invalid(f"it was issued in the future, at {record.issued_at.isoformat()}")
    if record.expires_at - record.issued_at > LONGEST_LIFE:
        raise invalid("it is to live for too long")
    return record
