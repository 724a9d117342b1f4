"""The hint for a path of this machine that leads nowhere: the name that may be meant, or where it was looked for."""

from __future__ import annotations

import itertools
import os

from plasm_core.printable import visible

_CLOSE = 0.75
_MOST_NAMES = 10_000
"""How many names of a directory are compared: more would take seconds."""


def missing_hint(path: str, *, otherwise: str | None = None) -> str:
    """Return the hint for a path that does not exist. `otherwise`: the hint if its directory has no similar name."""
    import difflib  # takes as long to import as a small command takes

    at, name = os.path.split(path.rstrip("/"))
    if os.path.islink(os.path.join(at, name)):
        return f"it is a symbolic link to {visible(os.readlink(os.path.join(at, name)))}, which leads nowhere"
    try:
        with os.scandir(at or ".") as entries:
            names = [entry.name for entry in itertools.islice(entries, _MOST_NAMES)]
    except NotADirectoryError:
        return f"{visible(at)} is a file, not a directory"
    except OSError:
        return otherwise or f"there is no directory {visible(os.path.abspath(at))}, or you may not list it"
    close = difflib.get_close_matches(name, names, n=1, cutoff=_CLOSE)
    if close:
        return f"did you mean {visible(os.path.join(at, close[0]))}?"
    return otherwise or f"the directory {visible(os.path.abspath(at))} has no {visible(name)}"
