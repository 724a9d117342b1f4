"""Set the title that `ps` shows for a child process. It imports little, because every worker imports it."""

from __future__ import annotations

_ARG_START, _ARG_END = 48, 49  # proc_pid_stat(5), counted from 1
_MAX_BYTES = 1 << 20


def set_title(title: str) -> None:
    """Show a title in place of this process's command line, and in the processes that it forks (Linux).

    The kernel reads the command line out of the process's memory: the title is written there, and NULs behind it, as
    PostgreSQL does. Where that is not possible, the command line stays.
    """
    try:
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        start, end = int(fields[_ARG_START - 3]), int(fields[_ARG_END - 3])
        size = end - start
        if not 0 < size <= _MAX_BYTES:
            return
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(title.encode()[: size - 1].ljust(size, b"\0"))
    except (OSError, ValueError, IndexError):
        pass
