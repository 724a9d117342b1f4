"""The pool of zygotes, by program.

A zygote serves one program (`zygote_process`). The pool keeps a bounded number of them, the least recently used goes first, and one
that crashed is replaced. Nothing outlives the daemon: workers die with it, by the kernel, even on SIGKILL.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from plasm_core.config import SandboxConfig
from plasm_core.errors import SandboxError
from plasm_core.sandbox.process.child import Meter, unmetered
from plasm_core.sandbox.process.idle_worker import Worker
from plasm_core.sandbox.process.spawner import Spawner, refuse_missing
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_core.sandbox.process.zygote_process import Zygote
from plasm_core.sandbox.program import Program

log = logging.getLogger(__name__)

LEAST_BYTES = 64 << 20
"""What zygotes may take however little is spare: most need no more, and one for each job would be slow."""


class Workers(Protocol):
    """A source of workers for an executor."""

    missing: dict[str, str]
    spare_bytes: float
    """How much memory may be taken by what is idle."""

    @property
    def idle_bytes(self) -> int:
        """The memory in bytes that idle processes take."""

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Return a worker that will serve `jobs` jobs of a program. Raises: `SandboxError`.

        `meter` gets the processor time, in seconds, of other processes that had to start for the worker.
        """

    def close(self) -> None:
        """End all idle processes."""


class Pool:
    """Zygotes by program, limited in number and memory. Thread-safe."""

    def __init__(self, config: SandboxConfig) -> None:
        self.missing: dict[str, str] = {}
        self.spare_bytes = float("inf")
        self._config = config
        self._wanted: collections.Counter[str] = collections.Counter()
        self._zygotes: collections.OrderedDict[str, Zygote] = collections.OrderedDict()
        self._lock = threading.Lock()
        # The kernel ties a child's life to the thread that started it: one thread that lives as long as the
        # pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="plasm-zygotes")
        self._spawner = Spawner(config, self._starter)

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Return a worker from the program's zygote, which is started if there is none. Raises: `SandboxError`.

        `meter` gets the processor time, in seconds, of starting the zygote.
        """
        if not program.runtime.forks:
            worker = self._spawner.take(program, jobs=1, meter=meter)
            self.missing = self._spawner.missing
            return worker
        key = f"{jobs} {program_key(program)}"
        with self._lock:
            self._wanted[key] += 1
        problem: SandboxError | None = None
        try:
            for _ in range(2):
                zygote = self._zygote(key, program, jobs, meter)
                try:
                    return zygote.take()
                except SandboxError as exc:
                    problem = exc
                    log.warning("zygote lost, replacing it reason=%s", exc)
                    self._drop(key, zygote)
        finally:
            with self._lock:
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                self._evict()
        hint = problem.hint if problem is not None else None
        raise SandboxError("a zygote ended twice before it forked a worker", hint=hint) from problem

    def _zygote(self, key: str, program: Program, jobs: int, meter: Meter) -> Zygote:
        with self._lock:
            zygote = self._zygotes.get(key)
            if zygote is not None and zygote.served >= self._config.jobs_per_zygote:
                # Workers of one zygote share one layout of addresses: it must not stay the same for ever.
                del self._zygotes[key]
                zygote.close()
                zygote = None
            if zygote is None:
                self._evict()  # evict first: ending zygotes free memory for the new one
                zygote = self._starter.submit(self._make, program, jobs, meter).result()
                self._zygotes[key] = zygote
                self._evict()
            self._zygotes.move_to_end(key)
            return zygote

    def _make(self, program: Program, jobs: int, meter: Meter) -> Zygote:
        zygote = Zygote(program, self._config, jobs_per_worker=jobs, meter=meter)
        try:
            refuse_missing(zygote.missing, self._config)
        except SandboxError:
            zygote.close()
            raise
        if zygote.missing != self.missing:
            self.missing = zygote.missing
            for layer, reason in sorted(self.missing.items()):
                log.warning("sandbox layer missing layer=%s reason=%s", layer, reason)
        return zygote

    @property
    def idle_bytes(self) -> int:
        return sum(zygote.memory_bytes for zygote in list(self._zygotes.values()))

    def _evict(self) -> None:
        """End zygotes beyond what there may be, the least recently used first; none that a job waits for."""
        allowed = max(LEAST_BYTES, min(self._config.zygote_memory_bytes, self.spare_bytes))
        for key in list(self._zygotes):
            if len(self._zygotes) <= self._config.zygotes and self.idle_bytes <= allowed:
                break
            if key not in self._wanted:
                self._zygotes.pop(key).close()

    def _drop(self, key: str, zygote: Zygote) -> None:
        with self._lock:
            if self._zygotes.get(key) is zygote:
                del self._zygotes[key]
        zygote.close()

    def close(self) -> None:
        """End all zygotes and idle workers."""
        with self._lock:
            while self._zygotes:
                self._zygotes.popitem()[1].close()
        self._starter.shutdown()


def workers_for(config: SandboxConfig) -> Workers:
    """Return the source of workers for this platform: zygotes where possible."""
    zygotes = sys.platform == "linux" and os.uname().machine in SYS_CLONE
    return Pool(config) if zygotes else Spawner(config)


def program_key(program: Program) -> str:
    """Return the key that distinguishes the zygotes of two programs."""
    runtime = program.runtime
    parts = [runtime.entry, runtime.options(), runtime.version(), program.digest, program.entry]
    return json.dumps(parts, sort_keys=True)
