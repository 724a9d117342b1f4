"""Bounds on each wait for a node (docs/network.md, "How long a client waits")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from plasm_core.client.submission import Submission
from plasm_core.errors import NodeStalledError
from plasm_core.records.peer import PeerId

ANSWER_S = 10.0
"""From a question that takes no work (`submit`, `attach`) to its answer."""
ANSWER_NAMED_S = 60.0
"""The same at a node that cannot be replaced by another."""
ACCEPT_S = 20.0
"""From `offered` to `accepted`, beside what uploading takes."""
ACCEPT_NAMED_S = 300.0
"""The same at a node that cannot be replaced by another."""
START_S = 30.0
"""From `accepted` to RUNNING, where another node may start the job sooner."""
SLACK_S = 10.0
"""From RUNNING to `result`, beside the manifest's wall time and what sending the output takes."""
LEAST_BYTES_PER_S = 16 << 10
"""A node that takes or sends fewer is taken for one that does not go on."""
LEAST_SHARE = 0.125
"""What is left at least of a wait after other nodes have delayed the job."""
EARLIEST_SHARE, EARLY_S = 0.95, 1.0
"""A node's clock may be this much faster than the client's when it says that a job's wall time is over."""


def share_after(delays: int) -> float:
    """Return by which factor the next node's waits are shortened after that many nodes have delayed a job.

    Each halves them, so that many strangers who accept a job and do nothing cost little more than two.
    """
    return max(LEAST_SHARE, 0.5**delays)


@attrs.define
class Bounds:
    """The time limits of one job at one node, by the client's clock. No message of the node extends them.

    `replaceable`: another node may run the job. `own`: the node is this user's own daemon, which may queue and
    repeat a job without a limit of time. `share`: the factor of `share_after`.
    """

    wall_time_s: float = float("inf")
    upload_bytes: int = 0
    output_bytes: int | None = None
    replaceable: bool = False
    own: bool = False
    share: float = 1.0
    accepted_at: float | None = None
    """When this client learnt that the node had accepted the job, a moment of trio's clock."""
    running_at: float | None = None
    excused_s: float = 0.0

    @classmethod
    def of(cls, job: Submission, *, replaceable: bool, own: bool, delays: int = 0) -> Bounds:
        """Return the bounds of a submission at a node, after that many nodes have delayed the job."""
        manifest, sizes = job.manifest, job.sizes
        return cls(
            wall_time_s=manifest.wall_time_s,
            upload_bytes=sizes.total,
            output_bytes=manifest.limits.output_bytes,
            replaceable=replaceable,
            own=own,
            share=share_after(delays) if replaceable else 1.0,
        )

    @property
    def answer_s(self) -> float:
        """Seconds that the node has to answer a query that needs no work, such as `submit`."""
        return ANSWER_S if self.replaceable else ANSWER_NAMED_S

    @property
    def acceptance_s(self) -> float:
        """Seconds that the node has from `offered` to `accepted`."""
        least = ACCEPT_S if self.replaceable else ACCEPT_NAMED_S
        return float("inf") if self.own else least + self.upload_bytes / LEAST_BYTES_PER_S

    def excuse(self, seconds: float) -> None:
        """Extend the bounds by seconds that this client was busy, for example with a slow reader of the output."""
        self.excused_s += seconds

    def accepted(self) -> None:
        """Record the time at which the node accepted the job. Later calls change nothing."""
        self.accepted_at = trio.current_time() if self.accepted_at is None else self.accepted_at

    def is_in(self, state: str) -> None:
        """Record a state that the node reports. Only the first RUNNING counts."""
        if state == "RUNNING" and self.running_at is None:
            self.running_at = trio.current_time()

    def until(self, taken_bytes: int) -> float:
        """Return the time (trio's clock) by which the node must send more, after that many bytes of output."""
        if self.own:
            return float("inf")
        if self.running_at is not None:
            # Each received byte extends the wait; the manifest bounds their number.
            run_s = self.wall_time_s if self.replaceable else self.wall_time_s * 3
            slack_s = SLACK_S * self.share
            return self.running_at + run_s + slack_s + taken_bytes / LEAST_BYTES_PER_S + self.excused_s
        if self.replaceable and self.accepted_at is not None:
            return self.accepted_at + START_S * self.share
        return float("inf")

    def may_have_timed_out(self) -> bool:
        """Return whether the job's wall time may have passed since the node accepted it."""
        if self.accepted_at is None:
            return True
        waited_s = trio.current_time() - self.accepted_at
        return waited_s >= self.wall_time_s * EARLIEST_SHARE - EARLY_S


@contextmanager
def within(seconds: float, peer: PeerId | None, what: str) -> Iterator[None]:
    """Limit the time of a wait. Raises: `NodeStalledError`, with the time that the client waited for the node."""
    if seconds == float("inf"):
        yield
        return
    began = trio.current_time()
    with trio.CancelScope(deadline=began + seconds) as scope:
        yield
    if scope.cancelled_caught:
        who = f"the node {peer}" if peer is not None else "the node"
        raise NodeStalledError(f"{who} has not {what} within {trio.current_time() - began:.0f} s")
