"""Limits that a child process puts on itself before it touches anything untrusted."""

from __future__ import annotations

import contextlib
import resource

STACK_BYTES = 64 << 20


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (limit, limit))


def limit_resources(*, cpu_s: int, memory_bytes: int, file_bytes: int) -> None:
    """Bound CPU time, private memory and the size of files, and forbid core dumps.

    RLIMIT_DATA rather than RLIMIT_AS: engines reserve much address space that they never use.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_CPU, cpu_s)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    with contextlib.suppress(ValueError, OSError):  # macOS does not know it
        _lower(resource.RLIMIT_DATA, memory_bytes)


def allow_deep_stack() -> None:
    """Let the main thread's stack grow far enough for a job's deepest recursion on any engine.

    Linux checks the limit when the stack grows, and leaves room for 128 MiB.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    limit = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_STACK, (limit, hard))
