"""Receipts and capability records: stated, signed, and opened. The one place that makes and checks signatures.

Both are DSSE envelopes with Ed25519 signatures (docs/receipts.md, "Keys and signatures").
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plasm_core.errors import InvalidRecordError
from plasm_core.plugins.interfaces import Runtime, Signer
from plasm_core.records.ed25519 import SIGNATURE_BYTES, is_canonical_signature, key_problem
from plasm_core.records.envelope import PAYLOAD_TYPE, Envelope, Signature, key_id, pae
from plasm_core.records.files import Product
from plasm_core.records.manifest import GAS_SCHEDULES, Manifest, job_id
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.peer import PeerId
from plasm_core.records.receipt import Asked, Claims, Receipt, Result, RuntimeClaim
from plasm_core.records.run import Run

if TYPE_CHECKING:
    from plasm_core.records.batch_document import SignedBatch
    from plasm_core.records.batch_receipt import BatchReceipt
    from plasm_core.records.capabilities import CapabilityRecord

CLOCK_SKEW = timedelta(minutes=5)
"""How wrong another machine's clock may be."""
LONGEST_LIFE = timedelta(hours=24)
_SMALL_BYTES = 8192
"""Most receipts have some 2,000 bytes. The signatures of larger messages are checked each time."""


def is_signature_of(peer: PeerId, signature: bytes, message: bytes) -> bool:
    """Return whether a signature over a message is the peer's: pure Ed25519 without cofactor (RFC 8032, section 5.1.7)."""
    if len(message) > _SMALL_BYTES or len(signature) != SIGNATURE_BYTES:
        return _is_valid(peer.public_key, signature, message)
    return _was_valid(peer.public_key, signature, message)


def _is_valid(public_key: bytes, signature: bytes, message: bytes) -> bool:
    if key_problem(public_key) is not None or not is_canonical_signature(signature):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


_was_valid = functools.lru_cache(maxsize=64)(_is_valid)
"""A verifier checks a receipt's signature, and the client's memory of nodes the same one again. The answer depends on
nothing but these bytes, which are compared in full.
"""


def is_signed_by(envelope: Envelope, peer: PeerId) -> bool:
    """Return whether one of an envelope's signatures is the peer's."""
    message = envelope.signed_bytes
    return any(is_signature_of(peer, signature.sig, message) for signature in envelope.signatures)


def _signed(payload: bytes, payload_type: str, signer: Signer) -> Envelope:
    """Return an envelope with one signature over the payload's pre-authentication encoding (DSSE v1)."""
    signature = Signature(
        key_id=key_id(signer.peer_id.public_key), sig=signer.sign(pae(payload_type, payload))
    )
    return Envelope(payload=payload, payload_type=payload_type, signatures=(signature,))


def receipt_of(
    run: Run,
    outputs: Mapping[OutputStream, OutputDigest],
    *,
    manifest_json: bytes,
    manifest: Manifest,
    runtime: Runtime,
    isolation: str,
    node: PeerId,
    attempt: int = 1,
    files: tuple[Product, ...] = (),
) -> Receipt:
    """Build the receipt for a finished run.

    `manifest_json`: the manifest's bytes as submitted, whose digest is the job id. `node`: the node that will sign.
    `attempt`: how often the job has been started, this time included.
    """
    stdout, stderr = outputs[OutputStream.STDOUT], outputs[OutputStream.STDERR]
    return Receipt(
        stdout=stdout.sha256,
        stderr=stderr.sha256,
        asked=Asked.of(manifest, job_id(manifest_json)),
        result=Result(
            outcome=run.outcome,
            reproducible=manifest.reproducible,
            gas_used=run.gas_used,
            gas_schedule=GAS_SCHEDULES[manifest.profile],
            stdout_bytes=stdout.size_bytes,
            stderr_bytes=stderr.size_bytes,
        ),
        claims=Claims(
            started_at=run.started_at,
            finished_at=run.finished_at,
            wall_time_ms=round(run.wall_time_s * 1000),
            cpu_time_ms=round(run.cpu_time_s * 1000),
            peak_memory_bytes=run.peak_memory_bytes,
            runtime=RuntimeClaim(name=runtime.name, version=runtime.version()),
            isolation=isolation,
            attempt=attempt,
        ),
        node=node,
        files=files,
    )


def sign_receipt(receipt: Receipt, signer: Signer) -> Envelope:
    """Sign a receipt's statement, and return the envelope."""
    return _signed(receipt.to_statement(), PAYLOAD_TYPE, signer)


def sign_record(record: CapabilityRecord, signer: Signer) -> Envelope:
    """Sign a node's capability record with its own key, and return the envelope."""
    from plasm_core.records.capabilities import CAPABILITIES_TYPE  # `plasm run` makes no capability records

    return _signed(record.to_json(), CAPABILITIES_TYPE, signer)


def sign_batch(receipt: BatchReceipt, signer: Signer) -> SignedBatch:
    """Sign a batch receipt with the client's own key."""
    from plasm_core.records.batch_document import SignedBatch

    envelope = _signed(receipt.to_statement(), PAYLOAD_TYPE, signer)
    return SignedBatch(payload=envelope.payload, signatures=envelope.signatures)


def open_record(envelope_json: bytes, peer: PeerId, *, now: datetime) -> CapabilityRecord:
    """Return the record in an envelope, if the peer itself signed it and it is recent.

    Raises: `InvalidRecordError`.
    """
    from plasm_core.records.capabilities import CAPABILITIES_TYPE, CapabilityRecord

    def invalid(problem: str) -> InvalidRecordError:
        return InvalidRecordError("capability record", [("", problem)])

    envelope = Envelope.from_json(envelope_json)
    if envelope.payload_type != CAPABILITIES_TYPE:
        raise invalid(f"payload of type {envelope.payload_type[:100]}")
    if not is_signed_by(envelope, peer):
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
