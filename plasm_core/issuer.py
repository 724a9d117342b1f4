"""Turns a finished run into a receipt and signs it."""

from __future__ import annotations

import hashlib

import attrs

from plasm_core.abc import Runtime, Signer
from plasm_core.records import (
    GAS_SCHEDULE,
    Asked,
    Claims,
    Envelope,
    Manifest,
    Receipt,
    Result,
    RuntimeClaim,
    Signature,
    job_id,
    key_id,
    pae,
)
from plasm_core.records.envelope import PAYLOAD_TYPE
from plasm_core.sandbox.executor import Run


@attrs.define
class OutputDigest:
    """The digest and size of one output stream, taken as it passes."""

    _sha256: hashlib._Hash = attrs.field(factory=hashlib.sha256)
    size_bytes: int = 0

    def update(self, data: bytes) -> None:
        """Take the stream's next bytes."""
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        return self._sha256.hexdigest()


@attrs.frozen(kw_only=True)
class Produced:
    """An output as it was, once all of it is there."""

    size_bytes: int
    hexdigest: str


def receipt_of(
    run: Run,
    *,
    manifest_json: bytes,
    manifest: Manifest,
    stdout: OutputDigest | Produced,
    stderr: OutputDigest | Produced,
    runtime: Runtime,
    isolation: str,
    signer: Signer,
    attempt: int = 1,
) -> Receipt:
    """State a run as a receipt."""
    return Receipt(
        stdout=stdout.hexdigest,
        stderr=stderr.hexdigest,
        asked=Asked.of(manifest, job_id(manifest_json)),
        result=Result(
            outcome=run.outcome,
            reproducible=manifest.reproducible,
            gas_used=run.gas_used,
            gas_schedule=GAS_SCHEDULE,
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
        node=signer.peer_id,
    )


def sign(receipt: Receipt, signer: Signer) -> Envelope:
    """Sign a receipt's statement: one Ed25519 signature over its PAE."""
    payload = receipt.to_statement()
    signature = Signature(
        key_id=key_id(signer.peer_id.public_key), sig=signer.sign(pae(PAYLOAD_TYPE, payload))
    )
    return Envelope(payload=payload, signatures=(signature,))
