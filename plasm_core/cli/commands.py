"""The command line: its commands, and what its errors look like."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

import plasm_core
from plasm_core import standard_streams
from plasm_core.cli import render
from plasm_core.cli.exits import EPILOGUE, exit_code
from plasm_core.cli.render import show_error
from plasm_core.errors import PlasmError

_COMMANDS = {
    "demo": "demo:demo",
    "run": "run:run",
    **{
        name: f"jobs:{name}"
        for name in ("submit", "status", "wait", "logs", "result", "cancel", "release", "jobs")
    },
    "peers": "peers:peers",
    "metrics": "metrics:metrics",
    "verify": "verify:verify",
    "receipt": "receipt:receipt",
    "key": "key:key",
    "inspect": "inspect:inspect",
    "plugins": "plugins:plugins",
    "doctor": "doctor:doctor",
}
"""Command → module and name in plasm_core.cli. One is imported when it is used: half a second for all."""


class _Commands(click.Group):
    @property
    def commands(self) -> dict[str, click.Command]:
        """All commands, imported by now."""
        return {name: _imported(name) for name in _COMMANDS}

    @commands.setter
    def commands(self, value: object) -> None:
        pass  # click begins with none

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _imported(cmd_name) if cmd_name in _COMMANDS else None


def _imported(name: str) -> click.Command:
    module, _, attribute = _COMMANDS[name].partition(":")
    command = getattr(importlib.import_module(f"plasm_core.cli.{module}"), attribute)
    assert isinstance(command, click.Command)
    return command


@click.group(cls=_Commands, epilog=EPILOGUE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(plasm_core.__version__, prog_name="plasm")
def cli() -> None:
    """Run WebAssembly modules in a sandbox and get signed receipts that anyone can check."""


@contextmanager
def reporting() -> Iterator[None]:
    """Show errors as a command line does, and exit with their code."""
    standard_streams.secure()
    render.forgive_encodings()
    try:
        yield
    except click.UsageError as exc:
        words = io.StringIO()
        exc.show(file=words)
        render.show_page(words.getvalue(), stderr=True)
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        show_error(exc.format_message())
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        show_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone: there is nobody to tell.
        standard_streams.abandon(1)
        sys.exit(1)
    except PlasmError as exc:
        show_error(str(exc), exc.hint)
        sys.exit(exit_code(exc))
    except OSError as exc:
        show_error(f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else ""), _out_of(exc))
        _abandon_broken_output()
        sys.exit(1)
    except MemoryError:
        show_error("out of memory", "give it more: see ulimit -v, and the memory limit of the container")
        sys.exit(1)


def _out_of(exc: OSError) -> str | None:
    if exc.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files, as with: ulimit -n 4096"
    if exc.errno == errno.ENOSPC:
        return "make room, or write elsewhere"
    return None


def _abandon_broken_output() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        standard_streams.abandon(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that its outcome has."""
    with reporting():
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="plasm", standalone_mode=False
        )
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
