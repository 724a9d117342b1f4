"""Make manifests, receipts and signed envelopes for tests, the same ones each time."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm_core.abc import Signer
from plasm_core.issuer import sign
from plasm_core.records import (
    GAS_SCHEDULE,
    Asked,
    Claims,
    Envelope,
    JobInput,
    Manifest,
    Outcome,
    PeerId,
    Receipt,
    Result,
    RuntimeClaim,
    Signature,
    job_id,
    key_id,
    manifest_for,
    sha256,
)

ROOT = Path(__file__).resolve().parents[2]
STDOUT = b"dlroW ,olleH\n"
MODULE = b"\0asm\x01\0\0\0"
SUCCESS = Outcome(kind="exited", code=0)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=timezone.utc)


@attrs.frozen(slots=False)
class SeedSigner(Signer):
    """Signs with the key of a seed."""

    name = "seed"

    seed: bytes = bytes(range(32))

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self.key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)

    def create_key(self) -> str:
        return "memory"

    def existing_peer_id(self) -> PeerId | None:
        return self.peer_id


SIGNER = SeedSigner()
OTHER_SIGNER = SeedSigner(bytes(range(32, 64)))


def manifest(*, inputs: JobInput | None = None, **changes: Any) -> Manifest:
    """Make a manifest, with a nonce that is always the same."""
    made = manifest_for(MODULE, inputs or JobInput())
    return attrs.evolve(made, **{"nonce": "ab" * 16, **changes})


def document(data: bytes, **changes: Any) -> Any:
    """Parse JSON and change what stands at the dotted paths given, `__` for a dot. `...` takes it away."""
    value = json.loads(data)
    for path, new in changes.items():
        *parents, last = path.split("__")
        target = value
        for name in parents:
            target = target[int(name)] if isinstance(target, list) else target[name]
        if new is ...:
            del target[last]
        else:
            target[last] = new
    return value


def encoded(data: bytes, **changes: Any) -> bytes:
    """The same, as JSON again."""
    return json.dumps(document(data, **changes)).encode()


def receipt(
    *,
    of: Manifest | None = None,
    node: PeerId = SIGNER.peer_id,
    outcome: Outcome = SUCCESS,
    stdout: bytes = STDOUT,
    stderr: bytes = b"",
) -> Receipt:
    """Make the receipt of a manifest."""
    of = of or manifest()
    return Receipt(
        stdout=sha256(stdout),
        stderr=sha256(stderr),
        asked=Asked.of(of, job_id(of.to_json())),
        result=Result(
            outcome=outcome,
            reproducible=of.reproducible,
            gas_used=5650,
            gas_schedule=GAS_SCHEDULE,
            stdout_bytes=len(stdout),
            stderr_bytes=len(stderr),
        ),
        claims=Claims(
            started_at=MOMENT,
            finished_at=MOMENT,
            wall_time_ms=143,
            cpu_time_ms=140,
            peak_memory_bytes=2**40,
            runtime=RuntimeClaim(name="wasmtime", version="50.0.1"),
            isolation="process",
        ),
        node=node,
    )


def envelope(of: Receipt | None = None, *, signer: Signer = SIGNER) -> Envelope:
    """Sign a receipt."""
    return sign(of or receipt(), signer)


def countersigned(signed: Envelope, signer: Signer) -> Envelope:
    """Add another key's signature."""
    extra = Signature(key_id=key_id(signer.peer_id.public_key), sig=signer.sign(signed.signed_bytes))
    return attrs.evolve(signed, signatures=(*signed.signatures, extra))
