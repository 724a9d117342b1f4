"""Standard input: whether there is any, and word of waiting for it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from plasm_core import standard_streams
from plasm_core.cli import render

_SILENT_S = 1.0


def is_given() -> bool:
    """Return whether this process's standard input is for the job: it is open, and not a terminal."""
    return standard_streams.is_open(0) and not os.isatty(0)


@contextmanager
def telling(file: str, hint: str = "") -> Iterator[None]:
    """Print on a terminal, after a second, which input is still being read, because it may never end.

    `hint`: appended to the line.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    name = "standard input" if file == "-" else file
    timer = threading.Timer(_SILENT_S, render.show_waiting, [f"reading {name} to its end{hint}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
