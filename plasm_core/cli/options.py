"""The base class of commands, and the options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click
from click.core import ParameterSource

from plasm_core import config
from plasm_core.cli import completion, exits, stdin
from plasm_core.cli.command_class import Command
from plasm_core.cli.option_values import (
    WALL_S,
    arguments,
    environment,
    limits,
    read_file,
    read_module,
    read_once,
    stream_of,
)
from plasm_core.cli.unreadable import unreadable
from plasm_core.cli.unused_settings import OF_DAEMON, refuse_unused
from plasm_core.input_file import is_stored
from plasm_core.output_file import OutputFile
from plasm_core.quantities import bytes_text, gas_text, seconds_text
from plasm_core.records import CAPABILITIES, Limits
from plasm_core.records.manifest import DEFAULT_LIMITS, GAS_SCHEDULES, ZERO_SEED

if TYPE_CHECKING:
    from plasm_core.client.submission import Submission
    from plasm_core.records.files import JobFiles
    from plasm_core.sandbox.process.file_pack import FilePack

F = TypeVar("F", bound=Callable[..., Any])

MAX_STDIN_BYTES = MAX_MODULE_BYTES = 1 << 30

_HELP = {
    "require": "What verification must establish for exit code 0: signature (the default), known, reexecution, quorum, audit."
}


def command(**attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, as `click.command` does."""
    return click.command(cls=Command, **{"epilog": exits.EPILOGUE, **attributes})


def configured(
    *,
    choices: tuple[str, ...],
    sandboxed: bool = False,
    reload: bool = False,
    reuse: bool = False,
    unused: tuple[str, ...] = OF_DAEMON,
) -> Callable[[F], F]:
    """Give a command `--config`, `--set` and a flag for each choice; it receives `settings: Config`.

    `unused`: the settings that it does not use, and that `--set` therefore refuses.

    `sandboxed`: also give it `--require-sandbox`. `reuse`: also give it `--reuse`. `reload`: it also receives `reload`, a function that loads the
    settings again.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, config_file: Path | None, set_: tuple[str, ...], **values: Any) -> Any:
            overrides: dict[str, Any] = {f"plasm.{name}": values.pop(name) for name in choices}
            if overrides.get("plasm.runtime"):
                overrides["plasm.first_run"] = config.NO_FIRST_RUN
            if reuse:
                overrides["plasm.reuse"] = values.pop("reuse")
            if sandboxed:
                given = values.pop("require_sandbox")
                overrides["sandbox.require"] = _items(given, what="--require-sandbox")

            def load() -> config.Config:
                return config.load(
                    file=config_file,
                    settings=set_,
                    overrides={key: value for key, value in overrides.items() if value},
                )

            if reload:
                values["reload"] = load
            loaded = load()
            refuse_unused(set_, unused, command=click.get_current_context().command_path)
            return command(*args, settings=loaded, **values)

        decorated: Any = wrapped
        for name in reversed(choices):
            decorated = click.option(
                f"--{name}",
                metavar="NAME[,NAME…]" if name in config.LISTS else "NAME",
                help=_HELP.get(name, f"The {name} to use."),
                shell_complete=completion.plugins(name),
            )(decorated)
        if sandboxed:
            decorated = click.option(
                "--require-sandbox",
                multiple=True,
                metavar="LAYER[,LAYER…]",
                help=f"Refuse to run a job without these sandbox layers: {', '.join(config.SANDBOX_LAYERS)}.",
            )(decorated)
        if reuse:
            decorated = click.option(
                "--reuse",
                is_flag=True,
                help="Take the verified result of an earlier equal task, if there is one, and run nothing.",
            )(decorated)
        decorated = click.option(
            "--set", "set_", multiple=True, metavar="KEY=VALUE", help="A setting, as in admission.cpu_s=30."
        )(decorated)
        decorated = click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The configuration file to read.",
        )(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _items(given: Sequence[str], *, what: str) -> list[str]:
    """Read lists such as `one,two`. Raises: `click.BadParameter` if an item is empty."""
    items = [item.strip() for text in given for item in text.split(",")]
    if "" in items:
        raise click.BadParameter(f"{what} {','.join(given)}: an item is empty")
    return items


def json_option(command: F) -> F:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(command)


@attrs.frozen(kw_only=True)
class Task:
    """The options of a job, without module and arguments."""

    stdin_file: str | None
    env: tuple[bytes, ...]
    limits: Limits
    wall_time_s: int
    seed: str
    grants: tuple[str, ...]
    entry: str | None = None
    profile: str | None = None

    @property
    def terms(self) -> dict[str, Any]:
        """The terms of the manifest, without its digests."""
        return {
            "limits": self.limits,
            "wall_time_s": self.wall_time_s,
            "seed": self.seed,
            "grants": self.grants,
            **({} if self.entry is None else {"entry": self.entry}),
            **({} if self.profile is None else {"profile": self.profile}),
        }

    def stdin(self) -> bytes:
        """Read standard input: the file, or ours if it is piped. Raises: `click.ClickException`."""
        if self.stdin_file is None and not stdin.is_given():
            return b""
        file = "-" if self.stdin_file is None else self.stdin_file
        hint = "; to give none: </dev/null"
        return read_file(file, maximum=MAX_STDIN_BYTES, what="standard input", hint=hint)

    def module(self, module: str) -> bytes:
        """Read a module, `-` for stdin. Raises: `click.ClickException`."""
        return read_file(module, maximum=MAX_MODULE_BYTES, what="module")

    def submission(
        self,
        module: str,
        args: tuple[str, ...],
        *,
        pack: FilePack | None = None,
        files: JobFiles | None = None,
    ) -> Submission:
        """Make a submission of a module's file. Raises: `click.ClickException`."""
        read_once(module, self.stdin_file)
        file = self.stdin_file
        stored = file is not None and file != "-" and is_stored(file)
        try:
            return self._submission(
                # A module on standard input is read first; the rest of standard input is the job's input.
                Path(module) if stream_of(module) is None else self.module(module),
                args,
                Path(file) if stored and file else self.stdin(),
                pack,
                files,
            )
        except OSError as exc:
            raise unreadable(os.fspath(exc.filename or module), exc) from exc

    def loaded_submission(
        self,
        module: str,
        args: tuple[str, ...],
        *,
        settings: config.Config,
        pack: FilePack | None = None,
        files: JobFiles | None = None,
    ) -> Submission:
        """Make a submission with its bytes in memory, the module's as many as the settings allow.

        Raises: `click.ClickException`.
        """
        read_once(module, self.stdin_file)
        return self._submission(read_module(module, settings), args, self.stdin(), pack, files)

    def _submission(
        self,
        module: bytes | Path,
        args: tuple[str, ...],
        stdin: bytes | Path,
        pack: FilePack | None = None,
        files: JobFiles | None = None,
    ) -> Submission:
        from plasm_core.client.submission import Submission  # not all commands need it

        try:
            return Submission.of(
                module,
                pack=pack,
                asked_files=files,
                args=arguments(args),
                env=self.env,
                stdin=stdin,
                **self.terms,
            )
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc


def interpreter(command: F) -> F:
    """Give a command `--interpreter`, for a script in place of a module."""
    return click.option(
        "--interpreter",
        metavar="EXTENSION",
        help="MODULE is a script for this interpreter of the configuration; the default is that of its extension.",
    )(command)


def renamed(old: str, new: str) -> Callable[[F], F]:
    """Refuse an option by its old name with an error that names the new one."""

    def refuse(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> None:
        if values:
            raise click.UsageError(f"{old} is called {new} now")

    return click.option(old, multiple=True, hidden=True, expose_value=False, callback=refuse)


def refuse_given(ctx: click.Context, names: Sequence[str], why: str) -> None:
    """Refuse command-line options that would have no effect. Raises: `click.UsageError`."""
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and given:
            raise click.UsageError(f"{parameter.opts[0]} {why}", ctx)


def task(command: F) -> F:
    """Give a command the options of a job; it receives `task: Task`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        stdin_file: str | None,
        env: tuple[str, ...],
        limit: tuple[str, ...],
        seed: str,
        grants: tuple[str, ...],
        entry: str | None,
        profile: str | None,
        **values: Any,
    ) -> Any:
        task_limits, wall_time_s = limits(limit)
        found = Task(
            stdin_file=stdin_file,
            env=environment(env),
            limits=task_limits,
            wall_time_s=wall_time_s,
            seed=seed,
            grants=grants,
            entry=entry,
            profile=profile,
        )
        return command(*args, task=found, **values)

    decorated: Any = wrapped
    for option in reversed(_TASK_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


_TASK_OPTIONS = (
    click.option(
        "--stdin",
        "stdin_file",
        metavar="FILE",
        help="The job's standard input, /dev/null for none; the default is ours, if it is piped.",
    ),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="An environment variable for the job."),
    click.option(
        "--limit",
        "limit",
        multiple=True,
        metavar="NAME=VALUE",
        help="A limit, as in gas=1e9, memory=64MiB, output=1MiB or wall=30s; output is for stdout and stderr each. "
        f"[default: gas={gas_text(DEFAULT_LIMITS.gas)}, memory={bytes_text(DEFAULT_LIMITS.memory_bytes)}, "
        f"output={bytes_text(DEFAULT_LIMITS.output_bytes)}, wall={seconds_text(WALL_S)}]",
    ),
    click.option(
        "--seed",
        metavar="HEX",
        default=ZERO_SEED,
        help="Seed of the job's randomness, 64 hexadecimal digits. [default: zeros]",
    ),
    click.option(
        "--grant",
        "grants",
        multiple=True,
        type=click.Choice(CAPABILITIES),
        help="Grant the job the real clock or real randomness; it is then not reproducible.",
    ),
    click.option(
        "--entry",
        metavar="NAME",
        help="Call this export in place of _start, after _initialize: for a module that is a reactor.",
    ),
    click.option(
        "--profile",
        type=click.Choice(tuple(GAS_SCHEDULES)),
        help="The determinism contract: v2 for a module with exceptions or tail calls. "
        "[default: what the job and its module need]",
    ),
    renamed("--capability", "--grant"),
)


def output(file: str | None) -> OutputFile | None:
    """Return a file to write to later, checked now. Raises: `OutputFileError`."""
    return None if file is None else OutputFile.prepared(file)
