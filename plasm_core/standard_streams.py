"""Open the standard streams of a process that was started without them.

If one is closed, the next opened file or socket gets its number, and messages for the terminal are written into it.
So each closed stream is opened on the null device first.
"""

from __future__ import annotations

import codecs
import io
import os
import sys

closed: set[int] = set()
"""Which of 0, 1 and 2 were closed when the process was started."""


def secure() -> None:
    """Open the null device in place of each standard stream that is closed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            fd = os.open(os.devnull, os.O_RDWR)  # dup returns the lowest free number: this one
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
    """Return whether a standard stream is open, and not the null device in its place."""
    if number in closed:
        return False
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def abandon(number: int) -> None:
    """Redirect a standard stream to the null device, because it is broken or its disk is full.

    Otherwise the interpreter would try to flush it on exit, complain, and replace the exit code.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)


_SUBSTITUTES = {"✓": "ok", "✗": "x", "…": "...", "→": "->", "·": "-", "‖": "||", "≤": "<=", "≥": ">="}
"""What stands for a character that a terminal's encoding lacks. Success and failure must differ in ASCII, too."""


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Replace the characters that cannot be encoded: an error handler for `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SUBSTITUTES.get(character, "?") for character in lacking), error.end


def forgive_encodings() -> None:
    """Show characters that the terminal's encoding lacks as ASCII, or as question marks, instead of raising an error."""
    codecs.register_error("plasm-substitute", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plasm-substitute")
