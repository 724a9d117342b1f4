"""Jobs as the daemon's loop and its clients see them."""

from __future__ import annotations

import attrs

from plasm_core.daemon.change_event import News
from plasm_core.daemon.runner import Attempt
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.daemon.scheduling.slots import demand_of
from plasm_core.daemon.store import Gone, Job, Store
from plasm_core.errors import RefusedError
from plasm_core.machine import Demand
from plasm_core.protocol.messages import Status
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputStream


def _without_manifest(job: Job) -> Job:
    """Return a job as a track keeps it: thousands may wait, each with a manifest of 64 KiB, which the disk has."""
    return job.changed(manifest_json=b"") if job.state.live else job


@attrs.define(eq=False)
class Track:
    """A job without a result, with its current state and the tasks that wait for changes.

    The job has no parsed manifest until it has ended.
    """

    job: Job = attrs.field(converter=_without_manifest)
    owner: Owner
    demand: Demand
    news: News = attrs.field(factory=News)
    attempt: Attempt | None = None

    @property
    def runs_here(self) -> bool:
        """Whether this node runs the job itself, and does not hand it on to the network."""
        return self.job.route == "here"

    @property
    def is_suspect(self) -> bool:
        """Whether the daemon died while the job ran: only one such job runs at a time."""
        return self.job.interruptions > 0 and self.runs_here

    @property
    def must_run_alone(self) -> bool:
        """Whether the daemon died twice while the job ran together with others: it then runs alone, to show whether
        it is the cause.
        """
        return self.job.interruptions > 1 and self.runs_here


def demand_for(job: Job, store: Store) -> Demand:
    """Return the resources of this machine that a job may use: none if another node runs it.

    It may read the length of the listing of the job's input tree from the disk, once for each tree.
    """
    if job.route != "here":
        return Demand(cpu=0, memory_bytes=0)
    return demand_of(job.manifest, listing_bytes=store.trees.listing_bytes(job.tree) if job.tree else 0)


_GONE = {Gone.RELEASED: "been released", Gone.EXPIRED: "expired"}


def present(job: Job) -> Job:
    """Return the job if it is not gone. Raises: `RefusedError` (`released`, `expired`)."""
    if job.gone is not None:
        raise RefusedError(job.gone.value, f"the job has {_GONE[job.gone]}")
    return job


def status_of(job: Job, store: Store, position: int | None) -> Status:
    """Return a job's status for clients. `position`: its place in the queue, if it is in the queue."""
    return Status(
        state=job.state,
        attempt=job.attempt,
        position=position if job.state is JobState.QUEUED else None,
        stdout_bytes=_output_bytes(job, store, OutputStream.STDOUT),
        stderr_bytes=_output_bytes(job, store, OutputStream.STDERR),
        accepted_at=store.shown(job.accepted_at),
        started_at=store.shown(job.started_at),
        finished_at=store.shown(job.finished_at),
        expires_at=store.shown(job.expires_at),
        outcome=job.outcome.kind if job.outcome else None,
        node=job.node,
    )


def _output_bytes(job: Job, store: Store, stream: OutputStream) -> int:
    if job.state is JobState.QUEUED:
        return 0
    if job.state.live:
        return store.output_bytes(job, stream)
    return job.output(stream).size_bytes
