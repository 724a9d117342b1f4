"""Lines for a terminal: bold and colours where it has them. Importing rich for that takes as long as a small job."""

from __future__ import annotations

import os
from typing import IO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_COLOURS = {"red", "green", "yellow"}


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal, or is to be written to as if it were one.

    `TTY_COMPATIBLE` and `FORCE_COLOR` decide it (https://force-color.org), as they do in rich.
    """
    compatible = os.environ.get("TTY_COMPATIBLE", "")
    if compatible in ("0", "1"):
        return compatible == "1"
    forced = os.environ.get("FORCE_COLOR")
    if forced is not None:
        return forced != ""
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def styled(text: str, *styles: str, stream: IO[str]) -> str:
    """Return a text in some of the styles bold, dim, red, green and yellow, if a stream shows them.

    `NO_COLOR` (https://no-color.org) leaves bold and dim.
    """
    if not is_terminal(stream) or os.environ.get("TERM", "").lower() in ("dumb", "unknown"):
        return text
    if os.environ.get("NO_COLOR"):
        styles = tuple(style for style in styles if style not in _COLOURS)
    codes = ";".join(_CODES[style] for style in styles)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text
