"""The command `plasm`. This file stays light: Ctrl-C must find nothing half-loaded."""

from __future__ import annotations

import atexit
import gc
import signal
from collections.abc import Sequence

from plasm_core.address_space import refuse_small_address_space
from plasm_core.cli.command_line import hide_handles
from plasm_core.process_one import continue_in_child
from plasm_core.standard_streams import secure
from plasm_core.supported_platform import refuse_unsupported

_NEW_OBJECTS = 100_000
"""How many objects a command makes before garbage is collected: they take some 10 MB."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that its outcome has."""
    refuse_unsupported()
    refuse_small_address_space()
    continue_in_child()
    # Importing makes only objects that stay: collecting them every 700 takes an eighth of a short command's time.
    gc.set_threshold(_NEW_OBJECTS)
    # At its end the interpreter looks through all objects twice, except frozen ones.
    atexit.register(gc.freeze)
    secure()
    hide_handles()
    # The parent process may ignore SIGCHLD, which is inherited: then this process could not learn how a worker ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Loading the commands takes a fifth of a second; an interrupt during it would print a traceback.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from plasm_core.cli import commands

    signal.signal(signal.SIGINT, before)
    commands.main(arguments)
