"""The processor time of a child process, read while the child runs."""

from __future__ import annotations

import os
import sys
import time

_CPUCLOCK_SCHED = 2


def processor_time_s(pid: int, otherwise_s: float = 0.0) -> float:
    """Return the processor time, in seconds, that a child has used so far; it may have ended, but must not be reaped.

    `otherwise_s` is returned where the system does not tell.
    """
    if sys.platform == "linux":
        try:
            # clock_getcpuclockid(3): the processor-time clock of the process, to the nanosecond.
            return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)
        except OSError:
            pass
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return otherwise_s
