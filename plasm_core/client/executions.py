"""The executions of one job that its verifiers ask for: how many are wanted, which are done, and which nodes to avoid
next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

import attrs

from plasm_core.randomness import RANDOM
from plasm_core.records import PeerId, Plan
from plasm_core.records.plan import MAX_EXECUTIONS

T = TypeVar("T")

MAX_DROPPED = 16
"""How many nodes with false results one job may meet before it fails: keys are free to make."""


@attrs.define(kw_only=True)
class Executions(Generic[T]):
    """The executions of one job by different nodes, in the order in which they ended.

    `network` returns a node's network, None if unknown. `avoided`: nodes and networks that must not run the job.
    `holder`: the node whose output the caller has received.
    """

    plan: Plan
    network: Callable[[PeerId], str | None]
    avoided: Collection[PeerId | str] = ()
    done: dict[PeerId, T] = attrs.field(factory=dict)
    holder: PeerId | None = None
    _dropped: set[PeerId | str] = attrs.field(factory=set)
    _asked_for: int = 0
    _are_all: bool = False

    @property
    def wanted(self) -> int:
        """How many executions the verifiers ask for so far."""
        return max(self.plan.executions, self._asked_for)

    @property
    def are_enough(self) -> bool:
        """Whether there are as many executions as wanted, or as possible. None is never enough."""
        return bool(self.done) and (self._are_all or len(self.done) >= self.wanted)

    @property
    def next_is_alone(self) -> bool:
        """Whether the next execution may be the only one."""
        return self.wanted == 1 and not self.done and not self._dropped

    @property
    def have_begun(self) -> bool:
        """Whether a node has run the task."""
        return bool(self.done or self._dropped)

    def add(self, peer: PeerId, given: T) -> None:
        """Add an execution."""
        self.done[peer] = given
        self.holder = self.holder or peer

    def ask_for(self, more: int) -> bool:
        """Have `more` executions. Return whether there may be as many."""
        self._asked_for = len(self.done) + more
        return more > 0 and not self._are_all and self._asked_for + len(self._dropped) <= MAX_EXECUTIONS

    def drop(self, peers: Collection[PeerId]) -> bool:
        """Drop the executions of nodes whose claims are false. Return whether other nodes may replace them."""
        for peer in peers:
            self.done.pop(peer, None)
            self._dropped.add(peer)
            if self.holder == peer:
                self.holder = None
        return len(self._dropped) <= MAX_DROPPED

    def make_do(self) -> bool:
        """Accept the present number of executions, because no node is left to replace a dropped one.

        Return whether there are any. The verifiers may still ask for more, which will fail.
        """
        self._are_all = bool(self.done and self._dropped)
        return self._are_all

    def avoid(self) -> set[PeerId | str]:
        """Return the nodes that may not run the job next, and the networks where the plan asks for several."""
        taken: set[PeerId | str] = {*self.avoided, *self.done, *self._dropped}
        if self.plan.networks > 1:
            networks = (self.network(peer) for peer in self.done)
            taken.update(network for network in networks if network is not None)
        return taken

    def pause_s(self) -> float:
        """Return how long to wait before the next execution, drawn at random from the plan's `apart_s`."""
        return RANDOM.uniform(0, self.plan.apart_s) if self.have_begun and self.plan.apart_s else 0.0
