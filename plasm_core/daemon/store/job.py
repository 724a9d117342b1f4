"""The records of stored jobs."""

from __future__ import annotations

import enum
from datetime import datetime
from functools import cached_property
from typing import Any

import attrs

from plasm_core.fair_shares import NOBODY, Holder
from plasm_core.records import Manifest, Outcome
from plasm_core.records.job import JobState
from plasm_core.records.output import OutputDigest, OutputStream


class Gone(enum.Enum):
    """Why a job's inputs, outputs and receipt are no longer here."""

    RELEASED = "released"
    EXPIRED = "expired"


@attrs.frozen(kw_only=True, slots=False)
class Job:
    """A snapshot of a job's row in the database. `row` identifies the job within this store and is never reused.

    Once the job is `gone`, `manifest_json`, `module` and `directory` are empty, `outcome` and `envelope` None.
    `stdout` and `stderr` are those at its end; while it runs, call `Store.output_bytes`.
    """

    row: int
    job_id: str
    state: JobState
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
    """The owner's names, which are keyed digests; none once the job is gone."""
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    gone: Gone | None
    stdout: OutputDigest
    stderr: OutputDigest
    outcome: Outcome | None
    envelope: bytes | None = attrs.field(repr=False)
    manifest_json: bytes = attrs.field(repr=False)
    module: str
    tree: str = ""
    """The digest of the input tree, nothing for a job without files."""
    file_bytes: int = 0
    """The bytes of the files that it left."""
    directory: str
    route: str
    """`here`, or `network`: by a node that is found there, which is then `node`."""
    node: str | None
    input_bytes: int
    reserved_bytes: int

    def output(self, stream: OutputStream) -> OutputDigest:
        """Return the size and digest of an output at the job's end."""
        return self.stdout if stream is OutputStream.STDOUT else self.stderr

    def changed(self, **fields: Any) -> Job:
        """Return the job with other values of some fields, without its parsed manifest.

        As `attrs.evolve`, but ten times as fast: no field has a validator, and a job changes five times.
        """
        assert fields.keys() <= self.__dict__.keys()
        job = object.__new__(Job)
        job.__dict__.update(self.__dict__)
        job.__dict__.pop("manifest", None)
        job.__dict__.update(fields)
        return job

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises: `InvalidRecordError` if the job is gone."""
        return Manifest.from_json(self.manifest_json)

    def take_manifest(self, manifest: Manifest) -> None:
        """Set the parsed form of `manifest_json`, from a caller that has parsed it."""
        self.__dict__["manifest"] = manifest


@attrs.frozen(kw_only=True)
class StoredSubmission:
    """The result of storing a submission. `created`: the job is new, and was not stored before."""

    job: Job
    created: bool


@attrs.frozen(kw_only=True)
class Recovery:
    """The jobs without a result that a start found, each list in the order of acceptance.

    `queued`: to be run. `exhausted`: they were running and have no attempt left, so they end as system_error.
    `cancelling`: their cancellation was requested.
    """

    queued: tuple[Job, ...]
    exhausted: tuple[Job, ...]
    cancelling: tuple[Job, ...]


@attrs.frozen(kw_only=True)
class Totals:
    """Counts of jobs. `jobs`: by state, those that are not gone; `tombstones`: those that are."""

    jobs: dict[JobState, int]
    tombstones: int
    job_bytes: int
    """Inputs and outputs on the disk, reservations included."""
    modules: int
    module_bytes: int
    trees: int = 0
    tree_bytes: int = 0
