"""Jobs as the daemon's loop and its clients see them."""

from __future__ import annotations

import attrs

from plasm_core.daemon.news import News
from plasm_core.daemon.owners import Owner
from plasm_core.daemon.runner import Attempt
from plasm_core.errors import RefusedError
from plasm_core.machine import Demand
from plasm_core.slots import demand_of
from plasm_core.store import Gone, Job, State, Store, Stream
from plasm_core.wire.messages import Status


def _without_manifest(job: Job) -> Job:
    """Return a job as a track keeps it: thousands may wait, each with a manifest of 64 KiB, which the disk has."""
    return attrs.evolve(job, manifest_json=b"") if job.state.live else job


@attrs.define(eq=False)
class Track:
    """A job that has no result yet: as it is now, and who waits for news of it.

    The job is without its manifest until it has ended.
    """

    job: Job = attrs.field(converter=_without_manifest)
    owner: Owner
    demand: Demand
    news: News = attrs.field(factory=News)
    attempt: Attempt | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether the daemon died while it ran here: of such jobs one runs at a time."""
        return self.job.interruptions > 0 and self.job.route == "here"

    @property
    def must_run_alone(self) -> bool:
        """Whether that happened again while other jobs ran beside it: only alone it shows whether it is at fault."""
        return self.job.interruptions > 1 and self.job.route == "here"


def demand_for(job: Job) -> Demand:
    """Return what a job may use of this machine: nothing, if another node runs it."""
    return demand_of(job.manifest) if job.route == "here" else Demand(cpu=0, memory_bytes=0)


_GONE = {Gone.RELEASED: "been released", Gone.EXPIRED: "expired"}


def present(job: Job) -> Job:
    """Return a job that is not gone. Raises: `RefusedError` (`released`, `expired`)."""
    if job.gone is not None:
        raise RefusedError(job.gone.value, f"the job has {_GONE[job.gone]}")
    return job


def status_of(job: Job, store: Store, position: int | None) -> Status:
    """Return where a job stands. `position` is its place in the queue, if it has one."""
    return Status(
        state=job.state.value,
        attempt=job.attempt,
        position=position if job.state is State.QUEUED else None,
        stdout_bytes=_output_bytes(job, store, Stream.STDOUT),
        stderr_bytes=_output_bytes(job, store, Stream.STDERR),
        accepted_at=store.shown(job.accepted_at),
        started_at=store.shown(job.started_at),
        finished_at=store.shown(job.finished_at),
        expires_at=store.shown(job.expires_at),
        outcome=job.outcome.kind if job.outcome else None,
        node=job.node,
    )


def _output_bytes(job: Job, store: Store, stream: Stream) -> int:
    if job.state is State.QUEUED:
        return 0
    if job.state.live:
        return store.output_bytes(job, stream)
    return (job.stdout if stream is Stream.STDOUT else job.stderr).size_bytes
