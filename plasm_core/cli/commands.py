"""The command line: its commands, and what its errors look like."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from click.shell_completion import CompletionItem

from plasm_core import standard_streams
from plasm_core.cli.exits import EPILOGUE, exit_code
from plasm_core.errors import PlasmError
from plasm_core.resource_hint import resource_hint
from plasm_core.version import __version__

_COMMANDS = {
    "demo": (
        "demo:demo",
        "Run Plasm's example module, which reverses WORDS, on this machine, and verify its receipt.",
    ),
    "run": (
        "run:run",
        "Run MODULE with ARGS in the sandbox: on this machine or, with --remote, on a node of the network.",
    ),
    "map": (
        "map:map_command",
        "Run MODULE once for each input, on the daemon or on many nodes, and print the results in order.",
    ),
    "batch": ("batch:batch", "Show, cancel, run again or export a batch of `plasm map`."),
    "submit": (
        "jobs:submit",
        "Submit MODULE with ARGS to the daemon, or to a node of the network, and print the job's handle.",
    ),
    "status": ("jobs:status", "Show the state of a job."),
    "wait": ("jobs:wait", "Wait until a job has ended. Exit code 6 if it failed."),
    "logs": (
        "jobs:logs",
        "Show the stdout and stderr of a job so far. The output is not verified until the job has ended.",
    ),
    "result": (
        "jobs:result",
        "Wait for a job's result, verify it, and then print its stdout and stderr unchanged.",
    ),
    "files": (
        "job_files:files",
        "List the files that a job left (ls), or print some of them (cat PATH...).",
    ),
    "cancel": (
        "jobs:cancel",
        "Cancel a job. Its signed receipt then says `cancelled`, unless the job had ended before.",
    ),
    "release": (
        "jobs:release",
        "Let the node delete an ended job's inputs, outputs and receipt, and delete the handle here.",
    ),
    "jobs": ("job_list:jobs", "List the jobs that you submitted from this machine, with their states."),
    "address": (
        "address:address",
        "Print the addresses of this machine's node, as --peer and --bootstrap of other machines take them.",
    ),
    "peers": (
        "peers:peers",
        "List the nodes of the network that answer, the best first, with their capability records.",
    ),
    "reputation": (
        "reputation:reputation",
        "Show, forget or export what your clients have learnt of nodes, or have results checked.",
    ),
    "metrics": (
        "metrics:metrics",
        "Show the daemon's counters since its start, in the Prometheus text format.",
    ),
    "web": ("web:web", "Serve the daemon's jobs over HTTP, with a page for browsers."),
    "verify": ("verify:verify", "Verify the file RECEIPT, or several nodes' receipts of one task together."),
    "deny": (
        "deny:deny",
        "Verify a fraud proof, and deny the nodes that it convicts: run no job of theirs, and give them none.",
    ),
    "bundle": (
        "bundle:bundle",
        "Write receipts, modules, inputs, outputs and public keys into one zip file, a Process Run Crate.",
    ),
    "receipt": ("receipt:receipt", "Show or export a receipt. `plasm verify` verifies one."),
    "key": ("key:key", "Create or show the key that signs this machine's receipts."),
    "inspect": (
        "inspect:inspect",
        "Validate MODULE, and show its requirements and the installed engines that can run it.",
    ),
    "plugins": (
        "plugins:plugins",
        "List plugins: installed ones, ones that could be installed, and broken ones with the reason.",
    ),
    "doctor": (
        "doctor:doctor",
        "Check key, sandbox layers, engines, disk and clock, and say how to mend each problem.",
    ),
}
"""Command → module and name in plasm_core.cli, and the first paragraph of its help.

A command is imported when it is used: all together take half a second, which `plasm --help` need not.
"""


class _Commands(click.Group):
    @property
    def commands(self) -> dict[str, click.Command]:
        """Import all commands and return them."""
        return {name: _imported(name) for name in _COMMANDS}

    @commands.setter
    def commands(self, value: object) -> None:
        pass  # click begins with none

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _imported(cmd_name) if cmd_name in _COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], _COMMANDS, n=1)
            if close:
                ctx.fail(f"No such command '{args[0]}'. Did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=click.Command(name, help=text).get_short_help_str())
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


def _imported(name: str) -> click.Command:
    module, _, attribute = _COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(f"plasm_core.cli.{module}"), attribute)
    assert isinstance(command, click.Command)
    return command


@click.group(cls=_Commands, epilog=EPILOGUE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="plasm")
def cli() -> None:
    """Run WebAssembly modules in a sandbox and get signed receipts that anyone can check."""


def show_error(message: str, hint: str | None = None) -> None:
    """Print an error, or log it if stderr is a log in JSON.

    The renderer is imported here, because importing it takes longer than `plasm --help`.
    """
    logs = sys.modules.get("plasm_core.logs")  # only a process that logs has imported it
    if logs is not None and logs.is_json():
        logs.log_failure(message, hint)
        return
    from plasm_core.cli import render

    render.show_error(message, hint)


@contextmanager
def reporting() -> Iterator[None]:
    """Print errors of the block on stderr, and exit with their exit codes."""
    standard_streams.secure()
    standard_streams.forgive_encodings()
    try:
        yield
    except click.UsageError as exc:
        words = io.StringIO()
        exc.show(file=words)
        from plasm_core.cli import render

        render.show_page(words.getvalue(), stderr=True)
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        show_error(exc.format_message(), getattr(exc, "hint", None))
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        show_error("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output is gone: no message can reach it.
        standard_streams.abandon(1)
        sys.exit(1)
    except PlasmError as exc:
        show_error(str(exc), exc.hint)
        sys.exit(exit_code(exc))
    except OSError as exc:
        show_error(
            f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else ""), resource_hint(exc)
        )
        _abandon_broken_output()
        sys.exit(1)
    except MemoryError:
        show_error("out of memory", "give it more: see ulimit -v, and the memory limit of the container")
        sys.exit(1)


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
