"""Claims for tests of verifiers: receipts truly signed by keys that live in memory, the same ones each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import ClassVar

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from plasm_core.errors import PlasmError
from plasm_core.plugins.interfaces import Signer
from plasm_core.records import (
    GAS_SCHEDULE,
    Asked,
    Claim,
    Claims,
    JobInput,
    Laboratory,
    Manifest,
    Observables,
    Outcome,
    PeerId,
    Receipt,
    Result,
    RuntimeClaim,
    job_id,
    manifest_for,
    sha256,
)
from plasm_core.signing import sign_receipt

MODULE = b"\0asm\x01\0\0\0"
STDOUT = b"dlroW ,olleH\n"
SUCCESS = Outcome(kind="exited", code=0)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=timezone.utc)


@attrs.frozen(slots=False)
class SeedSigner(Signer):
    """Signs with the key of a seed of 32 bytes."""

    name: ClassVar[str] = "seed"

    seed: bytes = bytes(range(32))

    @property
    def key(self) -> Ed25519PrivateKey:
        """The private key."""
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


def manifest(*, capabilities: Sequence[str] = (), inputs: JobInput | None = None) -> Manifest:
    """Return a manifest, with a nonce that is always the same."""
    made = manifest_for(MODULE, inputs or JobInput(), grants=capabilities)
    return attrs.evolve(made, nonce="ab" * 16)


def receipt(
    *,
    of: Manifest | None = None,
    node: PeerId = SIGNER.peer_id,
    outcome: Outcome = SUCCESS,
    gas_used: int = 5650,
    stdout: bytes = STDOUT,
    stderr: bytes = b"",
    runtime: str = "wasmtime",
) -> Receipt:
    """Return the receipt of a manifest."""
    of = of or manifest()
    return Receipt(
        stdout=sha256(stdout),
        stderr=sha256(stderr),
        asked=Asked.of(of, job_id(of.to_json())),
        result=Result(
            outcome=outcome,
            reproducible=of.reproducible,
            gas_used=gas_used,
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
            runtime=RuntimeClaim(name=runtime, version="50.0.1"),
            isolation="process",
        ),
        node=node,
    )


def claim(
    of: Receipt | None = None,
    *,
    signer: Signer = SIGNER,
    trusted: bool = True,
    manifest: Manifest | None = None,
    laboratory: Laboratory | None = None,
) -> Claim:
    """Return the signed claim for a receipt. `trusted`: whether the caller trusts the node that it names."""
    of = of or receipt(node=signer.peer_id)
    return Claim(
        envelope=sign_receipt(of, signer),
        receipt=of,
        trusted=frozenset({of.node} if trusted else ()),
        manifest=manifest,
        laboratory=laboratory,
    )


@attrs.frozen
class FakeLaboratory:
    """A laboratory whose runtimes return given observables or raise given errors.

    `runs`: the runtimes in the order in which they were used.
    """

    answers: Mapping[str, Observables | PlasmError]
    runs: list[str] = attrs.field(factory=list)

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in among if name in self.answers)

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        self.runs.append(runtime)
        answer = self.answers[runtime]
        if isinstance(answer, PlasmError):
            raise answer
        return answer
