"""The command line as other users see it. Light: it is covered before anything else is loaded."""

from __future__ import annotations

import re
import sys

_SECRET = re.compile(rb"(?<=phase0-)[A-Za-z0-9_-]{16,}")
_ARG_START, _ARG_END = 48, 49  # proc_pid_stat(5), counted from 1
_MAX_BYTES = 4 << 20


def hide_handles() -> None:
    """Overwrite the handles in this process's command line, which the system shows to other users (Linux).

    They are visible between the start of the process and this call, so it is better to give a handle by `-` or
    `@FILE`.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        shown = _read("/proc/self/cmdline")
        fields = _read("/proc/self/stat").rpartition(b")")[2].split()
        start, end = (int(fields[number - 3]) for number in (_ARG_START, _ARG_END))
    except (OSError, ValueError, IndexError):
        return
    if not _SECRET.search(shown) or not start or not 0 < end - start <= _MAX_BYTES:
        return
    import ctypes  # slow, and few command lines hold a handle

    # The kernel reads the command line from the process's own memory: write only if the bytes found there match.
    if ctypes.string_at(start, end - start) != shown[: end - start]:
        return
    for found in _SECRET.finditer(shown[: end - start]):
        ctypes.memset(start + found.start(), ord("*"), len(found[0]))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_BYTES)
