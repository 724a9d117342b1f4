"""Write the manual pages of plasm, each of its commands, and plasmd into a directory, by click-man."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click
from click_man.core import write_man_pages

import plasm_core
from plasm_core.cli.commands import cli
from plasm_core.daemon.main import plasmd

FILES = """\
.SH FILES
.TP
/etc/plasm/plasmd.toml
the configuration of the packaged daemon, as the package has it
.TP
/etc/plasm/plasmd.d/*.toml
drop-ins that change single settings of it
.TP
~/.config/plasm/plasm.toml
the configuration of a user's own commands
.TP
/run/plasm/plasmd.sock
the socket of the packaged daemon, for the members of the group plasm
.TP
/var/lib/plasm
the packaged daemon's key, jobs and modules
"""


def write(directory: Path) -> list[Path]:
    """Write the pages, and return them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, command in (("plasm", cli), ("plasmd", plasmd)):
        _complete(command)
        write_man_pages(name, command, version=plasm_core.__version__, target_dir=str(directory))
    pages = sorted(directory.glob("*.1"))
    for name, other in (("plasm", "plasmd"), ("plasmd", "plasm")):
        with (directory / f"{name}.1").open("a") as page:
            page.write(f"{FILES}.SH SEE ALSO\n.BR {other} (1)\n")
    return pages


def _complete(command: click.Command) -> None:
    """Give a command's page what click-man leaves out: the first sentence whole, and the exit codes."""
    text = inspect.cleandoc(command.help or "")
    first, _, _ = text.partition("\n\n")
    command.short_help = " ".join(first.split()).partition(". ")[0].rstrip(".")
    command.help = "\n\n".join(item for item in (text, command.epilog) if item)
    if isinstance(command, click.Group):
        for item in command.commands.values():
            _complete(item)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
