"""Turns at compiling: a bounded number at once; the owner with the least processor time used is next.

Not thread-safe: used by the daemon's event loop only.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable

import attrs
import trio

from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.fair_shares import Room, Shares

_HALVES_S = 600.0
"""What an owner has used counts for half after so long."""
_MAX_OWNERS = 16_384


@attrs.define(eq=False)
class Turn:
    """A turn at compiling, or the wait for one. The compiling thread uses `begun` and `is_over`."""

    owner: Owner
    number: int
    ready: trio.Event = attrs.field(factory=trio.Event)
    begun: bool = False
    is_over: bool = False


class Turns:
    """The running compilations, and the order of the waiting ones.

    No owner has all turns at once. If there is more than one, one is reserved for the node's own users.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shares = Shares(total, is_lent=True)
        self.resize(total)
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: dict[str, OrderedDict[int, Turn]] = {}
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """The number of turns in use."""
        return self._shares.used

    @property
    def total(self) -> int:
        """The number of turns: modules that may be compiled at once."""
        return self._shares.capacity

    def resize(self, total: int) -> None:
        """Change the number of turns."""
        self._shares.capacity = total
        self._shares.per_name = max(1, total - 1)
        self._shares.kept = 1 if total > 1 else 0

    async def take(self, owner: Owner) -> Turn:
        """Wait for a turn, and return it."""
        turn = Turn(owner, next(self._numbers))
        self._waiting.setdefault(owner.line, OrderedDict())[turn.number] = turn
        self._start()
        try:
            await turn.ready.wait()
        except BaseException:
            self.give_back(turn)
            raise
        return turn

    def give_back(self, turn: Turn) -> None:
        """End a turn, or the wait for it. Doing so twice is harmless."""
        if turn.is_over:
            return
        turn.is_over = True
        if turn.ready.is_set():
            self._shares.give_back(turn.owner.holder)
        else:
            self._leave(turn)
        self._start()

    def charge(self, owner: Owner, cpu_s: float) -> None:
        """Charge processor time, in seconds, to the owner of a module."""
        self._spent[owner.line] = self._used_s(owner.line) + cpu_s, self._clock()
        self._spent.move_to_end(owner.line)
        while len(self._spent) > _MAX_OWNERS:
            self._spent.popitem(last=False)

    def _used_s(self, line: str) -> float:
        used_s, at = self._spent.get(line, (0.0, 0.0))
        return float(used_s * 0.5 ** ((self._clock() - at) / _HALVES_S))

    def _start(self) -> None:
        """Give out the turns that there are."""
        while True:
            heads = [next(iter(line.values())) for line in self._waiting.values()]
            able = [turn for turn in heads if self._shares.room(turn.owner.holder) is Room.FREE]
            if not able:
                return
            turn = min(able, key=lambda turn: (self._used_s(turn.owner.line), turn.number))
            self._shares.take(turn.owner.holder)
            self._leave(turn)
            turn.ready.set()

    def _leave(self, turn: Turn) -> None:
        line = self._waiting[turn.owner.line]
        del line[turn.number]
        if not line:
            del self._waiting[turn.owner.line]
