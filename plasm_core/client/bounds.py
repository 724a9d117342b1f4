"""How long a client waits for each step of a node's work (docs/network.md, "What a client believes")."""

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
EARLIEST_SHARE, EARLY_S = 0.95, 1.0
"""A node's clock may be this much faster than the client's when it says that a job's wall time is over."""


@attrs.define
class Bounds:
    """The limits of one job at one node, by the client's clock. None is moved by what the node says.

    `replaceable`: whether another node may have the job. `own`: the node is this user's own daemon, which may
    queue and repeat a job as long as it likes.
    """

    wall_time_s: float = float("inf")
    upload_bytes: int = 0
    output_bytes: int | None = None
    replaceable: bool = False
    own: bool = False
    accepted_at: float | None = None
    """When this client learnt that the node had accepted the job, a moment of trio's clock."""
    running_at: float | None = None
    excused_s: float = 0.0

    @classmethod
    def of(cls, job: Submission, *, replaceable: bool, own: bool) -> Bounds:
        """Return the bounds of a job."""
        manifest, sizes = job.manifest, job.sizes
        return cls(
            wall_time_s=manifest.wall_time_s,
            upload_bytes=sizes.module + sizes.args + sizes.env + sizes.stdin,
            output_bytes=manifest.limits.output_bytes,
            replaceable=replaceable,
            own=own,
        )

    @property
    def answer_s(self) -> float:
        """How long from a question that takes no work to its answer."""
        return ANSWER_S if self.replaceable else ANSWER_NAMED_S

    @property
    def acceptance_s(self) -> float:
        """How long from `offered` to `accepted`."""
        least = ACCEPT_S if self.replaceable else ACCEPT_NAMED_S
        return float("inf") if self.own else least + self.upload_bytes / LEAST_BYTES_PER_S

    def excuse(self, seconds: float) -> None:
        """Count time that this side took, as a slow reader of the output does, for the node."""
        self.excused_s += seconds

    def accepted(self) -> None:
        """Note that the node has accepted the job. Only the first time counts."""
        self.accepted_at = trio.current_time() if self.accepted_at is None else self.accepted_at

    def is_in(self, state: str) -> None:
        """Note a state that the node tells. Only the first RUNNING counts."""
        if state == "RUNNING" and self.running_at is None:
            self.running_at = trio.current_time()

    def until(self, taken_bytes: int) -> float:
        """Return the moment by which the job must have gone on, where so many bytes of output have come."""
        if self.own:
            return float("inf")
        if self.running_at is not None:
            # Bytes buy time, and there are no more of them than the manifest allows.
            run_s = self.wall_time_s if self.replaceable else self.wall_time_s * 3
            return self.running_at + run_s + SLACK_S + taken_bytes / LEAST_BYTES_PER_S + self.excused_s
        if self.replaceable and self.accepted_at is not None:
            return self.accepted_at + START_S
        return float("inf")

    def may_have_timed_out(self) -> bool:
        """Return whether the job's wall time can be over: it began after the node had accepted it."""
        if self.accepted_at is None:
            return True
        waited_s = trio.current_time() - self.accepted_at
        return waited_s >= self.wall_time_s * EARLIEST_SHARE - EARLY_S


@contextmanager
def within(seconds: float, peer: PeerId | None, what: str) -> Iterator[trio.CancelScope]:
    """Bound a wait. Raises: `NodeStalledError`, which says for how long the node was waited for."""
    began = trio.current_time()
    with trio.CancelScope(deadline=began + seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        who = f"the node {peer}" if peer is not None else "the node"
        raise NodeStalledError(f"{who} has not {what} within {trio.current_time() - began:.0f} s")
