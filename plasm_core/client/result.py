"""The verified result of a job: its output with its receipt and verdict."""

from __future__ import annotations

from pathlib import Path

import attrs

from plasm_core.assurance import Standing
from plasm_core.client.fetched_files import FetchedFiles
from plasm_core.client.result_files import ResultFiles
from plasm_core.errors import JobFailedError
from plasm_core.printable import visible
from plasm_core.records import Envelope, Handle, Outcome, PeerId, Receipt, Verdict

_STDERR_BYTES = 500


@attrs.frozen(kw_only=True)
class Rejected:
    """A node's result that was rejected: the reason, and the evidence file if one was written."""

    node: PeerId
    reason: str
    file: Path | None = None


@attrs.frozen(kw_only=True)
class JobResult:
    """The verified end of a job. `str(result)` is its standard output, decoded as UTF-8.

    `stdout` and `stderr` are empty if the caller gave a sink. `standing`: the signing node's relation to the user.
    `rejected`: results of other nodes that failed verification. `envelopes`: every receipt that the verdict is about,
    several if verifiers asked for several executions, as for a quorum; `envelope` is the first.
    """

    handle: Handle
    state: str
    receipt: Receipt
    envelope: Envelope = attrs.field(repr=False)
    verdict: Verdict
    standing: Standing = Standing.STRANGER
    rejected: tuple[Rejected, ...] = ()
    others: tuple[Envelope, ...] = attrs.field(default=(), repr=False)
    """The other nodes' receipts of a job that several executed."""
    stdout: bytes = attrs.field(default=b"", repr=False)
    stderr: bytes = attrs.field(default=b"", repr=False)
    files: ResultFiles = attrs.field(factory=ResultFiles, repr=False)
    """The files that the job left of its outputs, by their paths: `result.files["out/table.csv"].read()`."""
    earlier: bytes | None = attrs.field(default=None, repr=False)
    """The manifest of the earlier job whose verified result this is, as `reuse` takes it; None if the job was run."""

    executed: bytes | None = attrs.field(default=None, repr=False)
    """The manifest of the job that the receipt is of, if it is another job of the task than the one that was submitted.

    Where several nodes run a task, each gets a job of its own.
    """

    fetched: FetchedFiles | None = attrs.field(default=None, repr=False)
    """The same as `files`, as they came from a node; None if none came."""

    @property
    def manifest_json(self) -> bytes | None:
        """The manifest of the job that the receipt is of, None if it is the one that was submitted."""
        return self.earlier or self.executed

    @property
    def envelopes(self) -> tuple[Envelope, ...]:
        """All receipts: `envelope` and `others`."""
        return (self.envelope, *self.others)

    @property
    def reused(self) -> bool:
        """Whether this is the result of an earlier job of the same task. Its handle opens nothing."""
        return self.earlier is not None

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        return self.receipt.result.outcome

    @property
    def ok(self) -> bool:
        """Whether the job exited with code 0."""
        return self.outcome.ok

    @property
    def exit_code(self) -> int | None:
        """The job's exit code; None if it did not exit."""
        return self.outcome.code

    def check(self) -> JobResult:
        """Return this result if the job exited with code 0, as `subprocess.CompletedProcess.check_returncode`.

        Raises: `JobFailedError` otherwise, with this result and the first 500 bytes of stderr.

            from plasm_core import Client

            print(Client().run("examples/hello/hello.wasm").check())
        """
        if self.ok:
            return self
        said = visible(self.stderr[:_STDERR_BYTES].decode("utf-8", "replace").strip())
        message = f"the job failed: {self.outcome}" + (f"; its stderr begins: {said}" if said else "")
        raise JobFailedError(message, self)

    def __str__(self) -> str:
        return self.stdout.decode("utf-8", "replace")
