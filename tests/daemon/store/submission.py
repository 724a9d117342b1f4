"""Jobs to put into a store."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import attrs

from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Job, StagedInputs, Store
from plasm_core.fair_shares import NOBODY, Holder
from plasm_core.records import JobInput, Limits, Manifest, Outcome, manifest_for, sha256
from plasm_core.records.digest import encode_list
from plasm_core.records.output import OutputStream

MODULE = b"\0asm\1\0\0\0"
LIMITS = StorageLimits(spare_bytes=0)
TOKEN = b"t" * 32
INPUTS = JobInput(args=(b"one", b""), env=(b"A=1",), stdin=b"in")
LARGE = JobInput(args=(b"one", b""), env=(b"A=1",), stdin=bytes(100_000))
"""Inputs that are kept as files."""
EXITED = Outcome(kind="exited", code=0)
CANCELLED = Outcome(kind="cancelled")
HOLDER = Holder(names=("a" * 32, "b" * 32))


@attrs.define
class Clock:
    """A clock that stands until it is moved."""

    now: datetime = datetime(2030, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += timedelta(seconds=seconds)


@attrs.frozen(kw_only=True)
class Submission:
    """A manifest with what it names."""

    manifest: Manifest
    inputs: JobInput
    module: bytes

    @property
    def manifest_json(self) -> bytes:
        """The manifest's bytes."""
        return self.manifest.to_json()


def submission(
    inputs: JobInput = INPUTS,
    *,
    module: bytes = MODULE,
    attempts: int = 3,
    output_bytes: int = 1 << 20,
) -> Submission:
    """Make a job with a nonce of its own."""
    limits = Limits(gas=1000, memory_bytes=1 << 20, output_bytes=output_bytes)
    manifest = manifest_for(module, inputs, limits=limits, attempts=attempts)
    return Submission(manifest=manifest, inputs=inputs, module=module)


def upload(store: Store, module: bytes = MODULE) -> None:
    """Put a module into a store, pinned by nothing."""
    taking = store.modules.upload(sha256(module), len(module))
    taking.write(module)
    taking.commit().release()


def staged(store: Store, job: Submission, holder: Holder = NOBODY) -> StagedInputs:
    """Send a job's inputs."""
    content = {
        "args": encode_list(job.inputs.args),
        "env": encode_list(job.inputs.env),
        "stdin": job.inputs.stdin,
    }
    inputs = store.stage(job.manifest, {name: len(data) for name, data in content.items()}, holder)
    for name, data in content.items():
        inputs.write(name, data)
    return inputs


def accepted(store: Store, job: Submission | None = None, *, token: bytes = TOKEN) -> Job:
    """Have a job accepted, with its module if that is not there."""
    job = job or submission()
    if job.manifest.module not in store.modules:
        upload(store, job.module)
    answer = store.accept(staged(store, job), manifest_json=job.manifest_json, token=token)
    assert answer.created
    return answer.job


def finished(
    store: Store, job: Submission | None = None, *, stdout: bytes = b"out", token: bytes = TOKEN
) -> Job:
    """Have a job accepted and run to its end."""
    begun, spool = store.begin(accepted(store, job, token=token).row)
    spool.append(OutputStream.STDOUT, stdout)
    return store.finish(begun.row, outcome=EXITED, envelope=b"{}")


def directories(path: Path) -> list[str]:
    """Return the names of the jobs' directories."""
    return sorted(item.name for item in (path / "jobs").iterdir())


def files(path: Path, job: Job) -> list[str]:
    """Return the names of the files that a job has."""
    return sorted(item.name for item in (path / "jobs" / job.directory).iterdir())
