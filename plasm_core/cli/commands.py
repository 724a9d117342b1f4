"""The command line: its commands, and what its errors look like."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

import plasm_core
from plasm_core.cli import doctor, inspect, jobs, key, peers, plugins, receipt, render, run, verify
from plasm_core.cli.exits import EPILOGUE, exit_code
from plasm_core.cli.render import show_error
from plasm_core.errors import PlasmError


@click.group(epilog=EPILOGUE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(plasm_core.__version__, prog_name="plasm")
def cli() -> None:
    """Run WebAssembly modules in a sandbox and get signed receipts that anyone can check."""


cli.add_command(run.run)
for command in jobs.COMMANDS:
    cli.add_command(command)
cli.add_command(peers.peers)
cli.add_command(verify.verify)
cli.add_command(receipt.receipt)
cli.add_command(key.key)
cli.add_command(inspect.inspect)
cli.add_command(plugins.plugins)
cli.add_command(doctor.doctor)


@contextmanager
def reporting() -> Iterator[None]:
    """Show errors as a command line does, and exit with their code."""
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    render.forgive_encodings()
    try:
        yield
    except click.UsageError as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        show_error(exc.format_message())
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        show_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone: there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except PlasmError as exc:
        show_error(str(exc), exc.hint)
        sys.exit(exit_code(exc))
    except OSError as exc:
        show_error(f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else ""))
        sys.exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the code that its outcome has."""
    with reporting():
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="plasm", standalone_mode=False
        )
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
