"""A cache of jobs that were accepted or ended recently, which will soon be run or fetched."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

import attrs

from plasm_core.daemon.store.job import Job


@attrs.frozen
class RecentJob:
    """A job, its manifest, and its small inputs or outputs by number. `size_bytes`: the memory that it takes."""

    job: Job
    contents: Mapping[int, bytes]
    size_bytes: int


class Recent:
    """A cache of the latest jobs, bounded in bytes. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._items: OrderedDict[int, RecentJob] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, row: int, job: Job, contents: Mapping[int, bytes], more_bytes: int) -> None:
        """Store a job, in place of its earlier item. `more_bytes`: its size without its contents."""
        item = RecentJob(job, contents, _OVERHEAD_BYTES + more_bytes + sum(map(len, contents.values())))
        with self._lock:
            self._drop(row)
            self._items[row] = item
            self._used_bytes += item.size_bytes
            while self._used_bytes > self._limit_bytes:
                self._drop(next(iter(self._items)))

    def get(self, row: int) -> RecentJob | None:
        """Return the item kept for a job, or None."""
        with self._lock:
            return self._items.get(row)

    def drop(self, row: int) -> None:
        """Forget a job."""
        with self._lock:
            self._drop(row)

    def _drop(self, row: int) -> None:
        item = self._items.pop(row, None)
        if item is not None:
            self._used_bytes -= item.size_bytes


_OVERHEAD_BYTES = 8 << 10
"""What a job takes beside its bytes: its record and its parsed manifest."""
