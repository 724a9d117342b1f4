"""The schedule: which waiting job starts next, and what each running job holds until it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from plasm_core.config import Config
from plasm_core.daemon.scheduling.fair_queue import FairQueue
from plasm_core.daemon.scheduling.quotas import Quotas
from plasm_core.daemon.scheduling.slots import Slots, lendable_bytes
from plasm_core.daemon.tracked_job import Track
from plasm_core.fair_shares import Room, Shares
from plasm_core.machine import Demand, machine

log = logging.getLogger(__name__)


class Schedule:
    """Chooses among waiting jobs by turns of their owners, free processors and memory, quotas, and shares of the gateway.

    Not thread-safe: used by the daemon's event loop only.
    """

    def __init__(
        self,
        config: Config,
        quotas: Quotas,
        tracks: Mapping[int, Track],
        make_room: Callable[[int], object],
    ) -> None:
        """`tracks`: the jobs without a result, by row. `make_room` limits idle processes to some bytes of memory."""
        self.queue: FairQueue[int] = FairQueue(
            capacity=config.queue.jobs, per_owner=config.queue.jobs_per_client
        )
        self.slots: Slots[int] = Slots(_lent(config))
        self._handed_on = Shares(config.gateway.jobs)
        self._quotas = quotas
        self._tracks = tracks
        self._make_room = make_room
        self._limit_idle()

    def reconfigure(self, config: Config) -> None:
        """Apply new limits. Running jobs keep what they hold."""
        self.queue.resize(capacity=config.queue.jobs, per_owner=config.queue.jobs_per_client)
        self.slots.resize(_lent(config))
        self._limit_idle()

    def put(self, track: Track, *, first: bool = False) -> None:
        """Queue a job. A suspect waits for other suspects, which its owner's other jobs need not wait for."""
        line = track.owner.line_for(track.job.route)
        line = f"suspects of {line}" if track.is_suspect else line
        self.queue.put(line, track.job.row, track.owner.holder, first=first)

    def take(self) -> Track | None:
        """Take the next job out of the queue, with what it needs; None if none may start now."""
        row = self._next()
        if row is None:
            return None
        track = self._tracks[row]
        self.queue.take(row)
        self.slots.take(row, self._demand(track))
        if not track.runs_here:
            self._handed_on.take(track.owner.holder)
        self._limit_idle()
        self._quotas.started(track.owner.counted)
        return track

    def give_back(self, track: Track) -> None:
        """Give back what `take` gave to a job."""
        self.slots.give_back(track.job.row)
        if not track.runs_here:
            self._handed_on.give_back(track.owner.holder)
        self._limit_idle()
        self._quotas.ended(track.owner.counted)

    def _next(self) -> int | None:
        suspected = any(self._tracks[row].is_suspect for row in self.slots.running)
        heads = ((row, self._tracks[row]) for row in self.queue.heads())
        return self.slots.choose(
            (row, self._demand(track))
            for row, track in heads
            if self._quotas.may_start(track.owner.counted)
            and not (suspected and track.is_suspect)
            and (track.runs_here or self._handed_on.room(track.owner.holder) is Room.FREE)
        )

    def _demand(self, track: Track) -> Demand:
        """Return the processors and memory that a job needs: all, if it must run alone because a daemon died while it
        ran.
        """
        return self.slots.total if track.must_run_alone else track.demand

    def _limit_idle(self) -> None:
        """Limit zygotes and idle workers to the memory that no job uses, so that together with jobs they stay within
        the lent memory.
        """
        self._make_room(max(0, self.slots.free.memory_bytes))


def thread_limits(total: Demand, config: Config) -> tuple[int, int]:
    """Return how many modules may be compiled at once, and how many jobs may be seen to.

    Compilers have the memory that is not lent, each as much as it may take; one always runs.
    """
    rest = machine().memory_bytes - total.memory_bytes
    compilers = max(1, min(total.cpu, rest // config.admission.memory_bytes))
    return compilers, total.cpu * 2 + 8


def _lent(config: Config) -> Demand:
    """Return the processors and memory that jobs may use."""
    whole = machine()
    if config.limits.memory_bytes > whole.memory_bytes:
        log.warning(
            "more memory is lent than this process may have: the kernel will kill jobs limits=%d memory_bytes=%d",
            *(config.limits.memory_bytes, whole.memory_bytes),
        )
    return Demand(
        cpu=config.limits.cpu or whole.cpu,
        memory_bytes=config.limits.memory_bytes or lendable_bytes(whole.memory_bytes),
    )
