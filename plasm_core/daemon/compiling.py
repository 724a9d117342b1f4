"""Turns at compiling: so many modules at once, and the owner who has used least processor time for it is next.

Not thread-safe: the daemon's loop has it.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable

import attrs
import trio

from plasm_core.daemon.owners import Owner
from plasm_core.shares import Room, Shares

_HALVES_S = 600.0
"""What an owner has used counts for half after so long."""
_MAX_OWNERS = 16_384


@attrs.define(eq=False)
class Turn:
    """A turn at compiling, waited for or had. `begun` and `is_over` are for the thread that compiles."""

    owner: Owner
    number: int
    ready: trio.Event = attrs.field(factory=trio.Event)
    begun: bool = False
    is_over: bool = False


class Turns:
    """Who compiles now, and who is next.

    Nobody has all turns at once, and one is kept for the node's own users, if there is more than one.
    """

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shares = Shares(total, is_lent=True)
        self.total = total
        self._clock = clock
        self._numbers = itertools.count()
        self._waiting: dict[str, OrderedDict[int, Turn]] = {}
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """The turns that are had now."""
        return self._shares.used

    @property
    def total(self) -> int:
        """How many there are."""
        return self._shares.capacity

    @total.setter
    def total(self, total: int) -> None:
        self._shares.capacity = total
        self._shares.per_name = max(1, total - 1)
        self._shares.kept = 1 if total > 1 else 0

    async def take(self, owner: Owner) -> Turn:
        """Wait for a turn. Give it back."""
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
        """Take note of processor time that an owner's module took."""
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
