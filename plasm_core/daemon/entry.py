"""The command `plasmd`, from its first step.

This file stays light: the mark of a start is set before the daemon's modules are imported, which takes most of the
time that a start takes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_NO_START = frozenset({"--help", "-h", "--version", "--check", "--stop"})
"""With one of these options no daemon starts."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the daemon, and exit with the code that its end has."""
    from plasm_core.supported_platform import refuse_unsupported

    refuse_unsupported()
    from plasm_core.address_space import refuse_small_address_space

    refuse_small_address_space()
    from plasm_core.process_one import continue_in_child

    continue_in_child()
    from plasm_core import paths
    from plasm_core.starting import StartMark

    mark = StartMark()
    if not _NO_START.intersection(sys.argv[1:] if arguments is None else arguments):
        mark.set(paths.own_socket())
    from plasm_core.daemon import main as program

    try:
        program.main(arguments, mark)
    finally:
        mark.clear()
