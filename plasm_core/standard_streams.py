"""Standard input, output and error of a process that may have been started without them.

Where one is closed, the next file or socket that is opened gets its number, and what is meant for a terminal is
written into it. So each gets a stand-in before anything else is opened.
"""

from __future__ import annotations

import os
import sys

closed: set[int] = set()
"""Which of 0, 1 and 2 were closed when the process was started."""


def secure() -> None:
    """Put a stand-in, the null device, in the place of each standard stream that is closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115


def is_open(number: int) -> bool:
    """Return whether a standard stream is there, and no stand-in."""
    if number in closed:
        return False
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def abandon(number: int) -> None:
    """Send what is still written to a standard stream nowhere: it is broken, or its disk is full.

    Without it the interpreter would try once more on exit, complain, and replace the exit code.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
