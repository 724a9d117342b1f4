"""Slots: decide how many jobs run at once, from the lent processors and memory and the jobs' limits.

Not thread-safe: used by the daemon's event loop only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

from plasm_core.errors import RefusedError
from plasm_core.machine import Demand
from plasm_core.records import Manifest
from plasm_core.tree_listing import MEMORY_PER_LISTING_BYTE

K = TypeVar("K", bound=Hashable)

WORKER_BYTES = 64 << 20
"""What a worker takes beside the guest's memory: the engine, its code, the host functions."""

DAEMON_BYTES = 128 << 20
"""The most memory that the daemon itself takes on a small machine under any load of clients."""


def demand_of(manifest: Manifest, *, listing_bytes: int = 0) -> Demand:
    """Return the processors and memory that a job may use. `listing_bytes`: the size of the listing of its input tree.

    The worker may take as much beside the guest's memory (`plasm_core.sandbox.process.worker_files.file_memory`).
    """
    files = 0
    if manifest.files is not None:
        files = manifest.files.limits.memory_bytes + MEMORY_PER_LISTING_BYTE * listing_bytes
    return Demand(cpu=manifest.cpu, memory_bytes=manifest.limits.memory_bytes + files + WORKER_BYTES)


def lendable_bytes(memory_bytes: int) -> int:
    """Return the bytes of memory that jobs may use by default; the rest is for the daemon and for compiling."""
    most = max(memory_bytes // 2, memory_bytes - DAEMON_BYTES)
    return min(memory_bytes * 3 // 4, most)


class Slots(Generic[K]):
    """The processors and memory in use, and the choice of jobs that fit into the rest.

    Smaller jobs may overtake a job that does not fit, but only for `patience_s` from when it first was next; then
    nothing else starts until it does. Running jobs end by their wall time, so every job that is once next starts in
    bounded time. On an idle machine any job may start, because a job accepted under greater limits would otherwise
    never start.
    """

    def __init__(
        self, total: Demand, *, patience_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total = total
        self._patience_s = patience_s
        self._clock = clock
        self._taken: dict[K, Demand] = {}
        self._held_up: tuple[K, float] | None = None

    def resize(self, total: Demand) -> None:
        """Change the total of processors and memory. Running jobs keep theirs."""
        self.total = total

    def __len__(self) -> int:
        """The jobs that run."""
        return len(self._taken)

    @property
    def running(self) -> Collection[K]:
        """The jobs that run."""
        return self._taken.keys()

    @property
    def free(self) -> Demand:
        """The free processors and memory."""
        return Demand(
            cpu=self.total.cpu - sum(demand.cpu for demand in self._taken.values()),
            memory_bytes=self.total.memory_bytes - sum(item.memory_bytes for item in self._taken.values()),
        )

    def check(self, demand: Demand) -> None:
        """Raise `RefusedError` (`limit_too_high`) if a job would not fit even on the idle machine."""
        if demand.cpu > self.total.cpu:
            raise RefusedError(
                "limit_too_high", f"the job asks for {demand.cpu} cpus, and this node lends {self.total.cpu}"
            )
        if demand.memory_bytes > self.total.memory_bytes:
            raise RefusedError(
                "limit_too_high",
                f"the job needs {demand.memory_bytes} bytes of memory with its worker, and this node lends "
                f"{self.total.memory_bytes}",
                hint=f"--limit memory={(self.total.memory_bytes - WORKER_BYTES) >> 20}MiB is the most it could run"
                if self.total.memory_bytes > WORKER_BYTES + (1 << 20)
                else None,
            )

    def choose(self, waiting: Iterable[tuple[K, Demand]]) -> K | None:
        """Return the job to start now, or None.

        `heads`: jobs in the order of their turn, as from `FairQueue.heads`.
        """
        free = self.free
        in_use = any(taken.cpu for taken in self._taken.values())  # a job at another node takes no processor
        for index, (key, demand) in enumerate(waiting):
            fits = demand.cpu <= free.cpu and demand.memory_bytes <= free.memory_bytes
            if fits or not in_use:
                return key
            if index == 0 and not self._may_pass(key):
                return None
        return None

    def take(self, key: K, demand: Demand) -> None:
        """Reserve a job's demand, even beyond the free amount. Raises: ValueError if the job has a reservation."""
        if key in self._taken:
            raise ValueError("the job runs already")
        self._taken[key] = demand
        if self._held_up is not None and self._held_up[0] == key:
            self._held_up = None

    def give_back(self, key: K) -> None:
        """Free a job's reservation. Raises: KeyError if it has none."""
        del self._taken[key]

    def _may_pass(self, key: K) -> bool:
        now = self._clock()
        if self._held_up is None or self._held_up[0] != key:
            self._held_up = key, now
        return now - self._held_up[1] < self._patience_s
