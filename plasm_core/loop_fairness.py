"""Turns on the event loop: peers' messages are processed in small amounts per pass of the loop, in rotation.

One thread runs all tasks, and a task that never waits blocks all others. So every task that processes a peer's bytes
first waits for a turn and names its cost. A pass of the loop grants `pass_s` of cost. Then tasks wait for the next
pass; groups (networks or users) take turns, in a group its owners (connections), and for an owner its tasks in the
order they came. A flood over hundreds of connections of one network delays another network's peer by one turn, and
the node's own work by one pass.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

import trio
from trio.lowlevel import Abort, RaiseCancelT

PASS_S = 0.002
"""Cost that one pass gives out. A local question takes about twenty passes."""

_Tasks = deque[tuple[trio.lowlevel.Task, float]]


class LoopTurns:
    """Shares the event loop's time among tasks, while `run` runs; otherwise `turn` only yields to other tasks."""

    def __init__(self, *, pass_s: float = PASS_S) -> None:
        self._pass_s = pass_s
        self._left_s = pass_s
        self._waiting: OrderedDict[str, OrderedDict[Hashable, _Tasks]] = OrderedDict()
        self._asleep = trio.lowlevel.ParkingLot()
        self._is_running = False
        self.passes = 0
        """How many passes have given out turns."""

    @property
    def waiting(self) -> int:
        """The number of tasks that wait for a turn."""
        return sum(len(tasks) for owners in self._waiting.values() for tasks in owners.values())

    async def run(self) -> None:
        """Give turns to the waiting tasks, pass after pass, until cancelled."""
        self._is_running = True
        try:
            while True:
                if not self._waiting and self._left_s >= self._pass_s:
                    await self._asleep.park()
                else:
                    await trio.lowlevel.checkpoint()
                self.passes += 1
                # A pass that took more than its share does not shorten the next: every pass makes progress.
                self._left_s = self._pass_s
                while self._waiting and self._left_s > 0:
                    self._wake_next()
        finally:
            self._is_running = False
            while self._waiting:
                self._wake_next()

    def _wake_next(self) -> None:
        group, owners = next(iter(self._waiting.items()))
        owner, tasks = next(iter(owners.items()))
        task, cost_s = tasks.popleft()
        self._left_s -= cost_s
        if tasks:
            owners.move_to_end(owner)
        else:
            del owners[owner]
        if owners:
            self._waiting.move_to_end(group)
        else:
            del self._waiting[group]
        trio.lowlevel.reschedule(task)

    async def turn(self, group: str, owner: Hashable, cost_s: float) -> None:
        """Wait for a turn for work of about `cost_s` seconds: in this pass, or a later one."""
        if not self._is_running:
            await trio.lowlevel.checkpoint()
            return
        if self._left_s > 0 and not self._waiting:
            self.charge(cost_s)
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        await self._wait(group, owner, cost_s)

    def charge(self, cost_s: float) -> None:
        """Charge seconds of work beyond the cost that was announced for a turn."""
        if self._left_s >= self._pass_s:
            self._asleep.unpark_all()
        self._left_s -= cost_s

    async def _wait(self, group: str, owner: Hashable, cost_s: float) -> None:
        task = trio.lowlevel.current_task()
        entry = (task, cost_s)
        self._waiting.setdefault(group, OrderedDict()).setdefault(owner, deque()).append(entry)
        self._asleep.unpark_all()

        def abort(_: RaiseCancelT) -> Abort:
            owners = self._waiting[group]
            owners[owner].remove(entry)
            if not owners[owner]:
                del owners[owner]
            if not owners:
                del self._waiting[group]
            return Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
