"""Slots: how many jobs run at once, by what the machine has and what each of them may use.

Not thread-safe: the daemon's loop has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from plasm_core.errors import RefusedError
from plasm_core.machine import Demand
from plasm_core.records import Manifest

K = TypeVar("K", bound=Hashable)

WORKER_BYTES = 64 << 20
"""What a worker takes beside the guest's memory: the engine, its code, the host functions."""

DAEMON_BYTES = 128 << 20
"""What the daemon itself takes at most on a small machine, whatever clients do."""


def demand_of(manifest: Manifest) -> Demand:
    """Return what a job may use."""
    return Demand(cpu=manifest.cpu, memory_bytes=manifest.limits.memory_bytes + WORKER_BYTES)


def lendable_bytes(memory_bytes: int) -> int:
    """Return what of a machine's memory jobs may have by default: the rest is the daemon's, and compilers'."""
    most = max(memory_bytes // 2, memory_bytes - DAEMON_BYTES)
    return min(memory_bytes * 3 // 4, most)


class Slots(Generic[K]):
    """What of the machine is taken, and which job may have what is left.

    Smaller jobs may pass one that does not fit, but only for `patience_s` from when it first was the next:
    from then nothing else starts until it does. What runs ends by its wall time, so it waits no longer than
    that, and every job that is ever the next starts. On an idle machine whatever is next may start: one that
    was accepted under greater limits must not stand there for ever.
    """

    def __init__(
        self, total: Demand, *, patience_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.total = total
        self._patience_s = patience_s
        self._clock = clock
        self._taken: dict[K, Demand] = {}
        self._held_up: tuple[K, float] | None = None

    def __len__(self) -> int:
        """The jobs that run."""
        return len(self._taken)

    @property
    def free(self) -> Demand:
        """What is not taken."""
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
        """Return the job to start now, or None: of those in the order of their turn, see `FairQueue.heads`."""
        free = self.free
        for index, (key, demand) in enumerate(waiting):
            fits = demand.cpu <= free.cpu and demand.memory_bytes <= free.memory_bytes
            if fits or not self._taken:
                return key
            if index == 0 and not self._may_pass(key):
                return None
        return None

    def take(self, key: K, demand: Demand) -> None:
        """Take what a job may use, whether or not it is there. Raises: ValueError if the job has it already."""
        if key in self._taken:
            raise ValueError("the job runs already")
        self._taken[key] = demand
        if self._held_up is not None and self._held_up[0] == key:
            self._held_up = None

    def give_back(self, key: K) -> None:
        """Give back what a job had. Raises: KeyError if it had nothing."""
        del self._taken[key]

    def _may_pass(self, key: K) -> bool:
        now = self._clock()
        if self._held_up is None or self._held_up[0] != key:
            self._held_up = key, now
        return now - self._held_up[1] < self._patience_s
