"""Make manifests, receipts and signed envelopes for tests, the same ones each time."""

import json
from pathlib import Path
from typing import Any

import attrs

from plasm_core.plugins.interfaces import Signer
from plasm_core.records import Envelope, JobInput, Manifest, Receipt, Signature, key_id, manifest_for, sha256
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.signing import sign_receipt
from plasm_core.testing.claims import (
    MODULE,
    MOMENT,
    OTHER_SIGNER,
    SIGNER,
    STDOUT,
    SUCCESS,
    SeedSigner,
    receipt,
)

__all__ = [
    "MODULE",
    "MOMENT",
    "OTHER_SIGNER",
    "ROOT",
    "SIGNER",
    "STDOUT",
    "SUCCESS",
    "SeedSigner",
    "countersigned",
    "document",
    "encoded",
    "envelope",
    "manifest",
    "receipt",
]

ROOT = Path(__file__).resolve().parents[2]


def outputs_of(stdout: bytes = STDOUT, stderr: bytes = b"") -> dict[OutputStream, OutputDigest]:
    """Return size and digest of both outputs."""
    return {
        OutputStream.STDOUT: OutputDigest(size_bytes=len(stdout), sha256=sha256(stdout)),
        OutputStream.STDERR: OutputDigest(size_bytes=len(stderr), sha256=sha256(stderr)),
    }


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


def envelope(of: Receipt | None = None, *, signer: Signer = SIGNER) -> Envelope:
    """Sign a receipt."""
    return sign_receipt(of or receipt(), signer)


def countersigned(signed: Envelope, signer: Signer) -> Envelope:
    """Add another key's signature."""
    extra = Signature(key_id=key_id(signer.peer_id.public_key), sig=signer.sign(signed.signed_bytes))
    return attrs.evolve(signed, signatures=(*signed.signatures, extra))
