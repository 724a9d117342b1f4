"""State of one run of a job in a client: the nodes that were asked, the executions, and the sink of the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from plasm_core.assurance import Standing
from plasm_core.client.fetched_files import FetchedFiles, FetchLimits
from plasm_core.client.output import Buffer, Digesting, Nowhere, Sink, call_sink
from plasm_core.client.result import JobResult, Rejected
from plasm_core.client.result_verification import Given
from plasm_core.client.submitted_job import Sent
from plasm_core.client.wait_limits import Bounds
from plasm_core.errors import (
    PlasmError,
    RefusedError,
)
from plasm_core.records import Envelope, Handle, Receipt, Verdict
from plasm_core.records.output import OutputStream

MAX_OUTPUT_BYTES = 1 << 30
"""The most output that a result keeps in memory."""


@attrs.frozen(kw_only=True)
class JobExecution:
    """One execution: a node's result and the verdict on it.

    `rejected`: results of other nodes that were rejected before. `is_judged`: all verifiers have accepted the result.
    """

    given: Given
    receipt: Receipt
    verdict: Verdict
    rejected: tuple[Rejected, ...]
    is_judged: bool
    files: FetchedFiles | None = None


def fetch_limits(receipt: Receipt, sent: Sent) -> FetchLimits:
    """Return the limits of a job's output files that its receipt and its submission state."""
    asked = receipt.asked.files
    entries = 0 if asked is None else asked.limits.entries + 1
    if sent.file_bytes is None:
        return FetchLimits(entries=entries)
    return FetchLimits(entries=entries, file_bytes=sent.file_bytes)


def claim_problem(receipt: Receipt, bounds: Bounds | None) -> str | None:
    """Return why this client does not believe a node's claim about a job's end, or None."""
    outcome = receipt.result.outcome
    if outcome.kind == "system_error":
        return f"failed the job: {outcome.detail}" if outcome.detail else "failed the job"
    if outcome.kind == "cancelled":
        return "says that the job was cancelled, which this client has not asked for"
    if outcome.kind == "timed_out" and bounds is not None and not bounds.may_have_timed_out():
        return f"says that the job took more than {bounds.wall_time_s:.0f} s, which have not passed"
    return None


async def goes_with(output: Digesting, given: Given) -> bool:
    """Return whether a sink holds a node's output. A sink is restarted for an empty output."""
    if given.outputs == Digesting(Nowhere()).digests:
        await call_sink(output, output.restart)
    return given.outputs == output.digests


def result_of(
    given: Given,
    receipt: Receipt,
    verdict: Verdict,
    collected: Buffer | None,
    standing: Standing,
    rejected: tuple[Rejected, ...] = (),
) -> JobResult:
    return JobResult(
        handle=given.handle,
        state=given.end.status.state,
        receipt=receipt,
        envelope=Envelope.from_json(given.end.envelope.encode()),
        verdict=attrs.evolve(verdict, standing=standing),
        standing=standing,
        rejected=rejected,
        stdout=collected.take(OutputStream.STDOUT) if collected else b"",
        stderr=collected.take(OutputStream.STDERR) if collected else b"",
    )


@attrs.define
class AskedNodes:
    """The nodes that were asked to take a job, in order: those that may have it, and those that accepted it."""

    tried: list[Handle] = attrs.field(factory=list)
    accepted: list[Handle] = attrs.field(factory=list)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Give an error the handle of the job: where it was accepted last, else where it may have been."""
        try:
            yield
        except PlasmError as exc:
            if self.accepted:
                exc.handle = str(self.accepted[-1])
            elif self.tried and not isinstance(exc, RefusedError):
                exc.handle = str(self.tried[-1])
            raise


@contextmanager
def collecting(sink: Sink | None) -> Iterator[tuple[Buffer | None, Digesting]]:
    """Take output into the caller's sink, or into a buffer as long as the context lasts."""
    if sink is not None:
        yield None, Digesting(sink)
        return
    collected = Buffer(MAX_OUTPUT_BYTES)
    try:
        yield collected, Digesting(collected)
    finally:
        collected.close()
