"""The manifest: what a job computes, by digests only, and what it may use."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from typing import Any

import attrs

from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.digest import list_digest, sha256, tagged_digest
from plasm_core.records.fields import constrained, digest, integer, lower_hex, names_of, one_of

MANIFEST_FORMAT = "phase.manifest/v0"
PROFILE = "plasm.det/v1"
GAS_SCHEDULE = "plasm.gas/v1"
CAPABILITIES = ("clock.real", "random.real")
"""All there is to ask for. A job that asks for either cannot be reproduced."""

MAX_MANIFEST_BYTES = 65_536
ZERO_SEED = "00" * 32


@attrs.frozen(kw_only=True)
class Limits:
    """The limits that are part of the task: reaching one is an outcome anyone can re-check."""

    gas: int = constrained(integer(1))
    memory_bytes: int = constrained(integer(65_536, 2**32))
    output_bytes: int = constrained(integer(0, 2**40))


DEFAULT_LIMITS = Limits(gas=10_000_000_000, memory_bytes=256 << 20, output_bytes=64 << 20)
"""What our clients ask for when their user names nothing. A manifest itself has no defaults:
a task must not mean one thing to its sender and another to its node."""


@attrs.frozen(kw_only=True)
class Retry:
    """How often a run may be started in all, when a node fails."""

    attempts: int = constrained(integer(1, 100))


@attrs.frozen(kw_only=True)
class Manifest:
    """A job as submitted. Digests are of the raw module and stdin, and of the list encodings of args and env."""

    format: str = constrained(one_of(MANIFEST_FORMAT))
    profile: str = constrained(one_of(PROFILE))
    module: str = constrained(digest())
    args: str = constrained(digest())
    env: str = constrained(digest())
    stdin: str = constrained(digest())
    seed: str = constrained(lower_hex(32))
    limits: Limits
    wall_time_s: int = constrained(integer(1, 86_400))
    cpu: int = constrained(integer(1, 1024))
    capabilities: tuple[str, ...] = constrained(names_of(*CAPABILITIES))
    retry: Retry
    nonce: str = constrained(lower_hex(16))

    def to_json(self) -> bytes:
        """Encode the manifest. The job id is the digest of exactly these bytes."""
        return encode_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Parse a manifest. Raises: `InvalidRecordError`, naming every problem with its path."""
        value = parse_json(data, record="manifest", maximum=MAX_MANIFEST_BYTES)
        return structure(value, cls, record="manifest")

    @property
    def task_digest(self) -> str:
        """What is computed: equal task digests must give equal observables."""
        return task_digest(
            profile=self.profile,
            module=self.module,
            args=self.args,
            env=self.env,
            stdin=self.stdin,
            seed=self.seed,
            limits=self.limits,
            capabilities=self.capabilities,
        )

    @property
    def reproducible(self) -> bool:
        """Whether another run must give the same observables."""
        return not self.capabilities


def task_digest(
    *,
    profile: str,
    module: str,
    args: str,
    env: str,
    stdin: str,
    seed: str,
    limits: Limits,
    capabilities: Sequence[str],
) -> str:
    """Return the task digest of docs/determinism.md. Digests and seed come in hexadecimal."""
    return tagged_digest(
        [
            ("profile", profile.encode()),
            ("module", bytes.fromhex(module)),
            ("args", bytes.fromhex(args)),
            ("env", bytes.fromhex(env)),
            ("stdin", bytes.fromhex(stdin)),
            ("seed", bytes.fromhex(seed)),
            ("gas", struct.pack("<Q", limits.gas)),
            ("memory", struct.pack("<Q", limits.memory_bytes)),
            ("output", struct.pack("<Q", limits.output_bytes)),
            ("capabilities", "\n".join(sorted(capabilities)).encode()),
        ]
    )


def job_id(manifest_json: bytes) -> str:
    """Return the job id of a manifest's bytes as sent."""
    return sha256(manifest_json)


def new_nonce() -> str:
    """Return a fresh nonce: it makes two submissions of one task two jobs."""
    return secrets.token_hex(16)


@attrs.frozen(kw_only=True)
class JobInput:
    """The bytes a manifest names by digest, without the module. `env` holds `NAME=value` strings."""

    args: tuple[bytes, ...] = ()
    env: tuple[bytes, ...] = ()
    stdin: bytes = attrs.field(default=b"", repr=False)

    def __attrs_post_init__(self) -> None:
        if any(b"\0" in item for item in (*self.args, *self.env)):
            raise ValueError("args and env must not contain NUL: a guest would see them cut short")
        if any(item.find(b"=") < 1 for item in self.env):
            raise ValueError("each item of env is NAME=value")

    def mismatches(self, manifest: Manifest) -> list[str]:
        """Return the names of the inputs whose digest is not the manifest's."""
        found = {
            "args": list_digest(self.args),
            "env": list_digest(self.env),
            "stdin": sha256(self.stdin),
        }
        return [name for name, value in found.items() if getattr(manifest, name) != value]


def manifest_of(
    *,
    module: str,
    inputs: JobInput,
    stdin: str,
    limits: Limits = DEFAULT_LIMITS,
    seed: str = ZERO_SEED,
    wall_time_s: int = 60,
    cpu: int = 1,
    attempts: int = 3,
    capabilities: Sequence[str] = (),
) -> Manifest:
    """Make a manifest with a fresh nonce. `module` and `stdin` are digests; of `inputs` args and env count."""
    return Manifest(
        format=MANIFEST_FORMAT,
        profile=PROFILE,
        module=module,
        args=list_digest(inputs.args),
        env=list_digest(inputs.env),
        stdin=stdin,
        seed=seed,
        limits=limits,
        wall_time_s=wall_time_s,
        cpu=cpu,
        capabilities=tuple(sorted(set(capabilities))),
        retry=Retry(attempts=attempts),
        nonce=new_nonce(),
    )


def manifest_for(module: bytes, inputs: JobInput, **terms: Any) -> Manifest:
    """Make the manifest of a module and its input: `manifest_of` with their digests."""
    return manifest_of(module=sha256(module), inputs=inputs, stdin=sha256(inputs.stdin), **terms)
