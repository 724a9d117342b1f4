"""What a client gets: a job's output with its receipt, verified."""

from __future__ import annotations

from pathlib import Path

import attrs

from plasm_core.assurance import Standing
from plasm_core.records import Envelope, Handle, Outcome, PeerId, Receipt, Verdict


@attrs.frozen(kw_only=True)
class Rejected:
    """What a node gave for a job that does not hold: why, and the file that it is kept in, if it is."""

    node: PeerId
    reason: str
    file: Path | None = None


@attrs.frozen(kw_only=True)
class JobResult:
    """A job's end. As text it is its standard output.

    `stdout` and `stderr` are empty where the caller had them go elsewhere. `standing`: what is known of the node
    that signed. `rejected`: what other nodes gave that did not hold.
    """

    handle: Handle
    state: str
    receipt: Receipt
    envelope: Envelope = attrs.field(repr=False)
    verdict: Verdict
    standing: Standing = Standing.STRANGER
    rejected: tuple[Rejected, ...] = ()
    stdout: bytes = attrs.field(default=b"", repr=False)
    stderr: bytes = attrs.field(default=b"", repr=False)

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.receipt.result.outcome

    @property
    def ok(self) -> bool:
        """Whether it exited with code 0."""
        return self.outcome.ok

    @property
    def exit_code(self) -> int | None:
        """Its exit code, if it exited."""
        return self.outcome.code

    def __str__(self) -> str:
        return self.stdout.decode("utf-8", "replace")
