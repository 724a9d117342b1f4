"""What the store knows of a job."""

from __future__ import annotations

import enum
import hashlib
from datetime import datetime
from functools import cached_property

import attrs

from plasm_core.records import Manifest, Outcome
from plasm_core.shares import NOBODY, Holder

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()


class State(enum.Enum):
    """Where a job is in its life, in GA4GH TES words."""

    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"

    @property
    def live(self) -> bool:
        """Whether the job has no result yet."""
        return self in (State.QUEUED, State.INITIALIZING, State.RUNNING)


class Gone(enum.Enum):
    """Why a job's inputs, outputs and receipt are no longer here."""

    RELEASED = "released"
    EXPIRED = "expired"


class Stream(enum.IntEnum):
    """An output of a job. The numbers are the guest's descriptors."""

    STDOUT = 1
    STDERR = 2


@attrs.frozen(kw_only=True)
class Output:
    """Size and SHA-256 digest (hexadecimal) of one output."""

    size_bytes: int = 0
    digest: str = EMPTY_DIGEST


@attrs.frozen(kw_only=True, slots=False)
class Job:
    """A job as its row was when it was read: a snapshot. `row` names it within this store and is never reused.

    `manifest_json`, `module`, `directory` are empty, and `outcome` and `envelope` None, once it is `gone`.
    `stdout` and `stderr` are those of its end; while it runs, `Store.output_bytes` tells.
    """

    row: int
    job_id: str
    state: State
    cancelling: bool
    attempt: int
    """How often it has been started."""
    counted_attempts: int
    """The same without the starts that the node took back (`Store.requeue`)."""
    allowed_attempts: int
    """The manifest's `retry.attempts`, which bounds `counted_attempts`."""
    interruptions: int
    """How often the daemon died while it ran."""
    holder: Holder = NOBODY
    """Whose it is, by names that are keyed digests; nobody's once it is gone."""
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    gone: Gone | None
    stdout: Output
    stderr: Output
    outcome: Outcome | None
    envelope: bytes | None = attrs.field(repr=False)
    manifest_json: bytes = attrs.field(repr=False)
    module: str
    directory: str
    route: str
    """`here`, or `network`: by a node that is found there, which is then `node`."""
    node: str | None
    input_bytes: int
    reserved_bytes: int

    def output(self, stream: int) -> Output:
        """Return stdout (1) or stderr (2) as it was at the job's end."""
        return self.stdout if Stream(stream) is Stream.STDOUT else self.stderr

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises: `InvalidRecordError` if the job is gone."""
        return Manifest.from_json(self.manifest_json)


@attrs.frozen(kw_only=True)
class Accepted:
    """The answer to a submission. `created`: it is a new job, and not one that was there already."""

    job: Job
    created: bool


@attrs.frozen(kw_only=True)
class Recovery:
    """The live jobs that a start found, each list in the order of acceptance.

    `queued` are to be run; `exhausted` were running and have no attempt left, so they end as system_error;
    `cancelling` were to be cancelled.
    """

    queued: tuple[Job, ...]
    exhausted: tuple[Job, ...]
    cancelling: tuple[Job, ...]


@attrs.frozen(kw_only=True)
class Totals:
    """How much there is. `jobs` counts by state those that are not gone; `tombstones` those that are."""

    jobs: dict[State, int]
    tombstones: int
    job_bytes: int
    """Inputs and outputs on the disk, reservations included."""
    modules: int
    module_bytes: int
