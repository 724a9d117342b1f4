"""The limit of address space (`ulimit -v`), looked at before anything reserves some.

Where address space runs out while a thread starts, CPython waits for that thread for ever. So a command refuses a
limit that is too low for it, and under any limit its threads share one pool of memory: the C library would reserve
64 MiB for each.
"""

from __future__ import annotations

import resource
import sys

LEAST_BYTES = 512 << 20
"""The address space in bytes that a command needs; most engines reserve several GiB more in their workers."""
_M_ARENA_MAX = -8


def refuse_small_address_space() -> None:
    """Exit with code 1 and the reason if the address space is limited to less than a command needs."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    if limit < LEAST_BYTES:
        sys.exit(
            f"error: address space is limited to {limit >> 20} MiB (ulimit -v): Plasm needs {LEAST_BYTES >> 20} MiB, "
            "and most engines several GiB\nhint: raise the limit, as with: ulimit -v unlimited"
        )
    _share_one_arena()


def _share_one_arena() -> None:
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's alone
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
