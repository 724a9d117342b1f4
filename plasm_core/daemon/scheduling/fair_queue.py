"""The queue of jobs: bounded, first in first out for each owner, and round robin between owners.

Not thread-safe: used by the daemon's event loop only. Owners are opaque; they are forgotten with their last job.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import attrs

from plasm_core.errors import QueueFullError
from plasm_core.fair_shares import NOBODY, Holder, Room, Shares

K = TypeVar("K", bound=Hashable)

_FIRST_GUESS_S = 5.0
_LONGEST_RETRY_S = 300
_WEIGHT = 0.2
_KEPT_FOR_OWN = 8
"""Strangers never have the eighth part of the places: that is for the node's own users."""


@attrs.define
class _Line(Generic[K]):
    """One owner's waiting jobs, in order, and its places reserved for jobs that are not accepted yet."""

    waiting: OrderedDict[K, None] = attrs.field(factory=OrderedDict)
    reserved: int = 0


class FairQueue(Generic[K]):
    """The waiting jobs, each with a key.

    The next job is the first job of each owner in turn; an owner that is new, or whose job was taken, goes to the
    end of the round. Each operation takes constant time, except `position` and `heads`, which are linear in the
    number of owners.
    """

    def __init__(self, *, capacity: int, per_owner: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty queue. The parameters limit its jobs, in total and for each owner; reserved places count."""
        self._shares = Shares(capacity)
        self._clock = clock
        self._lines: dict[Hashable, _Line[K]] = {}
        self._round: OrderedDict[Hashable, None] = OrderedDict()
        self._owners: dict[K, tuple[Hashable, Holder]] = {}
        self._reserved = 0
        self._interval_s = _FIRST_GUESS_S
        self._taken_at: float | None = None
        self.resize(capacity=capacity, per_owner=per_owner)

    def __len__(self) -> int:
        """The jobs that wait."""
        return len(self._owners)

    @property
    def capacity(self) -> int:
        """The number of places."""
        return self._shares.capacity

    def resize(self, *, capacity: int, per_owner: int) -> None:
        """Change the number of places, and how many of them one owner may have."""
        self._shares.capacity = capacity
        self._shares.kept = capacity // _KEPT_FOR_OWN
        self.per_owner = per_owner

    def __contains__(self, key: object) -> bool:
        return key in self._owners

    @property
    def reserved(self) -> int:
        """The number of places reserved for jobs that are not accepted yet."""
        return self._reserved

    def reserve(self, owner: Hashable, holder: Holder = NOBODY) -> Place[K]:
        """Reserve a place for a job before it is accepted, because an accepted job must not be refused.

        The place counts against the holder's share.

        Raises: `QueueFullError`.
        """
        line = self._lines.get(owner)
        if line is not None and len(line.waiting) + line.reserved >= self.per_owner:
            raise QueueFullError(
                f"this client has {self.per_owner} jobs waiting, and no more are taken",
                retry_after_s=self._retry_after_s(len(self._round)),
            )
        room = self._shares.take(holder)
        if room is Room.SHARE_USED:
            raise QueueFullError(
                f"this client has {self._shares.held(holder)} jobs waiting, which is its share of the queue",
                retry_after_s=self._retry_after_s(len(self._round)),
            )
        if room is not Room.FREE:
            raise QueueFullError(
                f"the queue is full: {self.capacity} jobs wait", retry_after_s=self._retry_after_s(1)
            )
        self._lines.setdefault(owner, _Line()).reserved += 1
        self._reserved += 1
        return Place(self, owner, holder)

    def put(self, owner: Hashable, key: K, holder: Holder = NOBODY, *, first: bool = False) -> None:
        """Add a job that was accepted earlier: at the daemon's start, or, as its owner's `first`, to be run again.

        It is added beyond the capacity too; new jobs use `reserve`.

        Raises: ValueError if the key is in the queue.
        """
        if key in self._owners:
            raise ValueError("the job waits already")
        line = self._lines.setdefault(owner, _Line())
        line.waiting[key] = None
        if first:
            line.waiting.move_to_end(key, last=False)
        self._owners[key] = owner, holder
        self._shares.take(holder, force=True)
        self._round.setdefault(owner)

    def take(self, key: K | None = None) -> K | None:
        """Remove and return the next job, None if the queue is empty. With a key, take that job, one of `heads`.

        Raises: KeyError if the key is not in the queue.
        """
        if key is None:
            if not self._round:
                return None
            key = next(iter(self._lines[next(iter(self._round))].waiting))
        owner, _ = self._owners[key]
        self._remove(key)
        if owner in self._round:
            self._round.move_to_end(owner)
        self._measure()
        return key

    def remove(self, key: K) -> bool:
        """Remove a job that will not run. Return whether it was in the queue. Its owner keeps its turn."""
        if key not in self._owners:
            return False
        self._remove(key)
        return True

    def heads(self) -> Iterator[K]:
        """Yield the first job of each owner, the next one first. The queue must not change during the iteration."""
        return (next(iter(self._lines[owner].waiting)) for owner in self._round)

    def position(self, key: K) -> int | None:
        """Return a job's position if no other job arrives, 1 for the next; None if it is not in the queue.

        Linear in the number of owners, and of the owner's jobs before it or after it, whichever are fewer.
        """
        if key not in self._owners:
            return None
        owner, _ = self._owners[key]
        mine = _index(self._lines[owner].waiting, key)
        before, turns = 0, mine + 1
        for other in self._round:
            if other == owner:
                turns = mine  # for owners later in the round, one job fewer is ahead
                before += mine
            else:
                before += min(len(self._lines[other].waiting), turns)
        return before + 1

    def _remove(self, key: K) -> None:
        owner, holder = self._owners.pop(key)
        self._shares.give_back(holder)
        line = self._lines[owner]
        del line.waiting[key]
        if not line.waiting:
            del self._round[owner]
        self._tidy(owner, line)

    def _tidy(self, owner: Hashable, line: _Line[K]) -> None:
        if not line.waiting and not line.reserved:
            del self._lines[owner]

    def _give_up(self, owner: Hashable, holder: Holder) -> None:
        line = self._lines[owner]
        self._shares.give_back(holder)
        line.reserved -= 1
        self._reserved -= 1
        self._tidy(owner, line)

    def _measure(self) -> None:
        now = self._clock()
        if self._taken_at is not None:
            self._interval_s += _WEIGHT * (now - self._taken_at - self._interval_s)
        self._taken_at = now

    def _retry_after_s(self, jobs: int) -> int:
        return min(_LONGEST_RETRY_S, max(1, math.ceil(self._interval_s * jobs)))


def _index(waiting: OrderedDict[K, None], key: K) -> int:
    """Return how many keys come before one of them. Looked for from both ends: most are asked about when they came."""
    for index, (first, last) in enumerate(zip(waiting, reversed(waiting), strict=True)):
        if first == key:
            return index
        if last == key:
            return len(waiting) - 1 - index
    raise KeyError(key)


class Place(Generic[K]):
    """A reserved place in the queue, until a job takes it or it is released."""

    def __init__(self, queue: FairQueue[K], owner: Hashable, holder: Holder) -> None:
        self._queue: FairQueue[K] | None = queue
        self._owner = owner
        self._holder = holder

    def fill(self, key: K) -> None:
        """Put the accepted job into the place. Raises:

        ValueError if the place was released or the job is in the queue.
        """
        queue = self._queue
        if queue is None:
            raise ValueError("the place has been released")
        queue.put(self._owner, key, self._holder)
        self.release()

    def release(self) -> None:
        """Free the place, unless a job has taken it. Calling this twice is harmless."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue._give_up(self._owner, self._holder)
