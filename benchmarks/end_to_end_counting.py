"""What benchmarks/end_to_end.py counts: seconds, syncs, and processor time."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.support import processes

_COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static long *counted;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SYNC_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    counted = page == MAP_FAILED ? NULL : page;
    close(fd);
}

static void count(void) { if (counted) __atomic_add_fetch(counted, 1, __ATOMIC_RELAXED); }

int fsync(int fd) { count(); return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd); }
int fdatasync(int fd) { count(); return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd); }
int msync(void *at, size_t size, int flags)
{
    count();
    return ((int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "msync"))(at, size, flags);
}
"""


class SyncCounter:
    """Counts a program's syncs, if its environment has `environ`. None can be counted without a C compiler."""

    def __init__(self, directory: Path) -> None:
        self.environ: dict[str, str] = {}
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None or not sys.platform.startswith("linux"):
            return
        source, library, file = directory / "syncs.c", directory / "syncs.so", directory / "syncs.count"
        source.write_text(_COUNTER)
        file.write_bytes(bytes(8))
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(library), "SYNC_COUNT_FILE": str(file)}
        with file.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), 8)

    def read(self) -> float:
        """Return how many there were so far."""
        return float(struct.unpack("q", self._page[:8])[0]) if self.environ else float("nan")


@attrs.frozen(kw_only=True)
class Figures:
    """What one way of running jobs came to. Times in milliseconds, processor time for each job."""

    jobs: int
    in_flight: int
    jobs_per_s: float
    p50_ms: float
    p95_ms: float
    syncs: float | None = None
    client_cpu_ms: float | None = None
    daemon_cpu_ms: float | None = None
    workers_cpu_ms: float | None = None


def measure(call: Callable[[], object], jobs: int, in_flight: int) -> tuple[float, list[float]]:
    """Run a call so often, from as many threads as may be in flight. Return seconds, and those of each call."""
    times: list[float] = []
    turns, problems = itertools.count(), []

    def work() -> None:
        try:
            while next(turns) < jobs:
                started = time.perf_counter()
                call()
                times.append(time.perf_counter() - started)
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    started = time.perf_counter()
    if in_flight == 1:
        work()
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    took = time.perf_counter() - started
    if problems:
        raise problems[0]
    return took, times


def figures(took: float, times: list[float], in_flight: int, **more: float | None) -> Figures:
    """Sum up what was measured."""
    times = sorted(times)
    return Figures(
        jobs=len(times),
        in_flight=in_flight,
        jobs_per_s=len(times) / took,
        p50_ms=statistics.median(times) * 1e3,
        p95_ms=times[int(len(times) * 0.95)] * 1e3,
        **more,
    )


@attrs.frozen
class Usage:
    """Processor seconds of this process, of a daemon, and of the daemon's children, and its syncs."""

    client: float
    daemon: float
    children: dict[int, float]
    reaped: float
    syncs: float

    @classmethod
    def now(cls, daemon: int, syncs: SyncCounter) -> Usage:
        tick = os.sysconf("SC_CLK_TCK")
        fields = Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()
        own, reaped = sum(map(int, fields[11:13])) / tick, sum(map(int, fields[13:15])) / tick
        living = {}
        for child in processes.children(daemon):
            with contextlib.suppress(OSError):
                living[child.pid] = int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0]) / 1e9
        return cls(time.process_time(), own, living, reaped, syncs.read())

    def since(self, before: Usage, jobs: int) -> dict[str, float | None]:
        """Return what each job took."""
        workers = self.reaped - before.reaped
        workers += sum(cpu - before.children.get(pid, 0.0) for pid, cpu in self.children.items())
        syncs = (self.syncs - before.syncs) / jobs
        return {
            "client_cpu_ms": (self.client - before.client) / jobs * 1e3,
            "daemon_cpu_ms": (self.daemon - before.daemon) / jobs * 1e3,
            "workers_cpu_ms": workers / jobs * 1e3,
            "syncs": None if syncs != syncs else syncs,
        }
