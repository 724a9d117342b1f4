"""What the folder of a batch holds of each job."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import attrs

from plasm_core.client.output import Buffer
from plasm_core.records.converter import structure
from plasm_core.records.outcome import Outcome
from plasm_core.records.output import OutputStream

_INLINE_BYTES = 256 << 10


class BatchJobState(enum.Enum):
    """How far a job of a batch is. `FAILED`: with a receipt; `ERROR`: without one."""

    WAITING = "waiting"
    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it by itself."""
        return self not in (BatchJobState.WAITING, BatchJobState.SENT)


def stored_outcome(text: str | None) -> Outcome | None:
    """Return an outcome that a folder holds as JSON, None if there is none. Raises: `InvalidRecordError`."""
    return structure(json.loads(text), Outcome, record="outcome") if text else None


@attrs.frozen
class NewJob:
    """A job as it is added: in the order of the table's columns. `terms`: JSON, None as the batch has them."""

    label: str
    args: bytes
    env: bytes
    stdin: bytes | None
    stdin_file: str | None
    terms: str | None


@attrs.frozen(kw_only=True)
class BatchJobResult:
    """The end of a job, as it is stored. `outcome` is a JSON object; `stdout` None: it is in a file."""

    number: int
    state: BatchJobState
    peer: str | None = None
    outcome: str | None = None
    gas_used: int | None = None
    envelope: bytes | None = None
    stdout: bytes | None = None
    stderr: bytes | None = None
    error: str | None = None
    error_kind: str | None = None
    duration_ms: int | None = None
    manifest: bytes | None = None
    """The manifest to which the receipt belongs: another one if the result was reused."""
    reused: bool = False
    """Whether nothing was run: then there is no handle."""

    def as_row(self) -> tuple[Any, ...]:
        """Return the values of the columns that change, and the number."""
        values = attrs.asdict(self, recurse=False)
        number, state = values.pop("number"), values.pop("state")
        return (state.value, *values.values(), number)


@attrs.frozen(kw_only=True)
class JobRow:
    """A job with all that is known of it."""

    COLUMNS: ClassVar[str] = (
        "number, label, args, env, stdin, stdin_file, terms, state, manifest, secret, peer, outcome, gas_used,"
        " envelope, stdout, stderr, error, error_kind, duration_ms"
    )

    number: int
    label: str
    args: bytes
    env: bytes
    stdin: bytes | None = attrs.field(repr=False)
    stdin_file: str | None
    terms: str | None
    state: BatchJobState
    manifest: bytes | None
    secret: bytes | None = attrs.field(repr=False)
    peer: str | None
    outcome: str | None
    gas_used: int | None
    envelope: bytes | None = attrs.field(repr=False)
    stdout: bytes | None = attrs.field(repr=False)
    stderr: bytes | None = attrs.field(repr=False)
    error: str | None
    error_kind: str | None
    duration_ms: int | None

    @classmethod
    def of(cls, values: Sequence[Any]) -> JobRow:
        """Make one of a row of the table."""
        named = dict(zip((item.strip() for item in cls.COLUMNS.split(",")), values, strict=True))
        return cls(**{**named, "state": BatchJobState(named["state"])})

    @property
    def reused(self) -> bool:
        """Whether the job was not run: it has the result of an equal task, and no handle."""
        return self.envelope is not None and self.secret is None

    @property
    def reason(self) -> str:
        """Why the job did not succeed, in words; empty if it did."""
        return _reason(self.state, self.error, self.outcome)


def _reason(state: BatchJobState, error: str | None, outcome_json: str | None) -> str:
    if state is BatchJobState.SUCCEEDED:
        return ""
    if error is not None:
        return error
    outcome = json.loads(outcome_json or "{}")
    words = {
        "exited": f"exited with code {outcome.get('code')}",
        "trapped": f"trapped: {outcome.get('trap')}",
    }
    kind = str(outcome.get("kind", state.value))
    return words.get(kind, kind.replace("_", " "))


@attrs.frozen(kw_only=True)
class JobSummary:
    """A job without its inputs and outputs, of which a page of a long list has room for many."""

    COLUMNS: ClassVar[str] = "number, label, state, manifest, peer, outcome, gas_used, error, duration_ms"

    number: int
    label: str
    state: BatchJobState
    manifest: bytes | None = attrs.field(repr=False)
    peer: str | None
    outcome: str | None
    gas_used: int | None
    error: str | None
    duration_ms: int | None

    @classmethod
    def of(cls, values: Sequence[Any]) -> JobSummary:
        """Make one of a row of the table."""
        named = dict(zip((item.strip() for item in cls.COLUMNS.split(",")), values, strict=True))
        return cls(**{**named, "state": BatchJobState(named["state"])})

    @property
    def reason(self) -> str:
        """Why the job did not succeed, in words; empty if it did."""
        return _reason(self.state, self.error, self.outcome)


@attrs.frozen
class Counts:
    """How many jobs of a batch are in which state."""

    waiting: int = 0
    sent: int = 0
    succeeded: int = 0
    failed: int = 0
    error: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All jobs."""
        return sum(attrs.astuple(self))

    @property
    def ended(self) -> int:
        """Jobs that have a result, or an error instead."""
        return self.total - self.waiting - self.sent

    @property
    def unsuccessful(self) -> int:
        """Jobs that ended without success."""
        return self.failed + self.error + self.cancelled


@attrs.frozen
class KeptOutputs:
    """The outputs of one job: small ones are in its row, large ones in files beside the database."""

    _directory: Path
    _number: int

    def keep(self, output: Buffer) -> tuple[bytes | None, bytes | None]:
        """Store stdout and stderr of a job, and close the buffer. Raises: OSError.

        Return both; None for a large one, which is in a file and not in the row.
        """
        kept = [self._keep(output, stream) for stream in (OutputStream.STDOUT, OutputStream.STDERR)]
        output.close()
        return kept[0], kept[1]

    def _keep(self, output: Buffer, stream: OutputStream) -> bytes | None:
        if output.size_bytes(stream) <= _INLINE_BYTES:
            return output.take(stream)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self.file(stream)
        part = path.with_suffix(".part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            output.copy(stream, file)
            os.fsync(file.fileno())
        part.replace(path)
        return None

    def file(self, stream: OutputStream) -> Path:
        """Return the file of a large output."""
        return self._directory / f"{self._number}.{stream.label}"

    def copy(self, row: JobRow, stream: OutputStream, target: IO[bytes]) -> None:
        """Copy a job's output to an open file. Raises: OSError."""
        inline = row.stdout if stream is OutputStream.STDOUT else row.stderr
        if inline is not None:
            target.write(inline)
            return
        with self.file(stream).open("rb") as file:
            while data := file.read(1 << 20):
                target.write(data)
