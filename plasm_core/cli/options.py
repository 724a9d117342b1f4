"""Options that several commands share, and the words their values are written in."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from plasm_core import config
from plasm_core.cli import exits, stdin
from plasm_core.input_file import TooLargeError, is_stored, read_input
from plasm_core.output_file import OutputFile
from plasm_core.records import CAPABILITIES, Limits
from plasm_core.records.manifest import DEFAULT_LIMITS, ZERO_SEED
from plasm_core.sandbox.executor import MAX_ARGUMENT_BYTES
from plasm_core.wire import ANY_NODE

if TYPE_CHECKING:
    from plasm_core.client.blocking import Client
    from plasm_core.client.submission import Submission

F = TypeVar("F", bound=Callable[..., Any])

MAX_STDIN_BYTES = MAX_MODULE_BYTES = 1 << 30

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}
_SECONDS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600}


_HELP = {
    "require": "What must be established for exit code 0: signature (the default), known, reexecution, quorum or audit."
}


class Command(click.Command):
    """A command that drops nothing of what it is given, in silence (docs/operations.md, "What is given").

    An option that takes one value is given once. No value is empty, but for the job's own words: a shell puts an
    empty one where a variable was not set.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(given):
            single = isinstance(option, click.Option) and not (
                option.multiple or option.is_flag or option.count or option.is_eager
            )
            if single and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} was given more than once: it takes one value", ctx)
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            if parameter.name in _JOB_WORDS or not isinstance(value, (str, Path, tuple)):
                continue
            if "" in (value if isinstance(value, tuple) else (_text(value),)):
                name = (
                    parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(ctx)
                )
                raise click.UsageError(
                    f"{name} is empty; leave it out if it is not meant (is a variable of the shell not set?)",
                    ctx,
                )
        return rest


_JOB_WORDS = frozenset({"args", "words"})
"""Parameters that hold a job's arguments, where an empty one is as good as any."""


def _text(value: str | Path) -> str:
    return "" if value == Path() else str(value)


def command(**attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, as `click.command` does."""
    return click.command(cls=Command, **{"epilog": exits.EPILOGUE, **attributes})


def configured(
    *, choices: tuple[str, ...], sandboxed: bool = False, reload: bool = False
) -> Callable[[F], F]:
    """Give a command `--config`, `--set` and a flag for each choice; it receives `settings: Config`.

    `sandboxed`: give it `--require-sandbox` too. `reload`: it also receives `reload`, to read them anew.
    """

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def wrapped(*args: Any, config_file: Path | None, set_: tuple[str, ...], **values: Any) -> Any:
            overrides: dict[str, Any] = {f"plasm.{name}": values.pop(name) for name in choices}
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
            return command(*args, settings=load(), **values)

        decorated: Any = wrapped
        for name in reversed(choices):
            decorated = click.option(
                f"--{name}",
                metavar="NAME[,NAME…]" if name in config.LISTS else "NAME",
                help=_HELP.get(name, f"The {name} to use."),
            )(decorated)
        if sandboxed:
            decorated = click.option(
                "--require-sandbox",
                multiple=True,
                metavar="LAYER[,LAYER…]",
                help=f"Run nothing without these layers: {', '.join(config.SANDBOX_LAYERS)}.",
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


def quantity(text: str, *, what: str) -> int:
    """Read a count such as 65536, 1e9, 64MiB or 2G. Raises: `click.BadParameter`."""
    match = re.fullmatch(
        r"([0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[0-9]{1,2})?)\s*([kmgt]?i?)b?", text.strip().lower()
    )
    if match is None or match[2] not in _UNITS:
        raise click.BadParameter(f'{what}: expected a number such as 1e9 or 64MiB, got "{text}"')
    value = float(match[1]) * _UNITS[match[2]]
    return int(match[1]) * _UNITS[match[2]] if match[1].isdigit() else int(value)


def seconds(text: str, *, what: str) -> int:
    """Read a duration such as 30, 30s or 5min, in whole seconds. Raises: `click.BadParameter`."""
    match = re.fullmatch(r"([0-9]{1,9})\s*(s|min|m|h)?", text.strip().lower())
    if match is None:
        raise click.BadParameter(f'{what}: expected a duration such as 30s or 5min, got "{text}"')
    return int(match[1]) * _SECONDS[match[2] or ""]


def limits(pairs: tuple[str, ...]) -> tuple[Limits, int]:
    """Read `--limit` pairs. Return the task's limits and the wall time in seconds."""
    values = {
        "gas": DEFAULT_LIMITS.gas,
        "memory": DEFAULT_LIMITS.memory_bytes,
        "output": DEFAULT_LIMITS.output_bytes,
        "wall": 60,
    }
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in values or not equals:
            raise click.BadParameter(f"--limit {pair}: expected {', '.join(values)} with =VALUE")
        read = seconds if name == "wall" else quantity
        values[name] = read(text, what=f"--limit {name}")
    try:
        return (
            Limits(gas=values["gas"], memory_bytes=values["memory"], output_bytes=values["output"]),
            values["wall"],
        )
    except ValueError as exc:
        raise click.BadParameter(f"--limit: {exc}") from exc


def arguments(args: tuple[str, ...]) -> tuple[bytes, ...]:
    """Encode a job's arguments. Raises: `click.BadParameter`."""
    encoded = tuple(os.fsencode(item) for item in args)
    if sum(map(len, encoded)) > MAX_ARGUMENT_BYTES:
        raise click.BadParameter(f"the arguments have more than {MAX_ARGUMENT_BYTES} bytes")
    return encoded


def environment(pairs: tuple[str, ...]) -> tuple[bytes, ...]:
    """Encode a job's environment. Raises: `click.BadParameter`."""
    for pair in pairs:
        name, equals, _ = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"--env {pair}: expected NAME=VALUE")
    return arguments(pairs)


def read_file(path: str, *, maximum: int, what: str) -> bytes:
    """Read a file, `-` for stdin, bounded. Raises: `click.ClickException` (exit code 1)."""
    try:
        return read_input(path, maximum)
    except TooLargeError:
        raise click.ClickException(f"{what} {path} has more than {maximum} bytes") from None
    except OSError as exc:
        raise click.ClickException(f"cannot read {what} {path}: {exc.strerror}") from exc


@attrs.frozen(kw_only=True)
class Task:
    """What the options of a job say, beside its module and arguments."""

    stdin_file: str | None
    env: tuple[bytes, ...]
    limits: Limits
    wall_time_s: int
    seed: str
    capabilities: tuple[str, ...]

    @property
    def terms(self) -> dict[str, Any]:
        """What goes into the manifest, beside digests."""
        return {
            "limits": self.limits,
            "wall_time_s": self.wall_time_s,
            "seed": self.seed,
            "capabilities": self.capabilities,
        }

    def stdin(self) -> bytes:
        """Read standard input: the file, or ours if it is piped. Raises: `click.ClickException`."""
        if self.stdin_file is None and not stdin.is_given():
            return b""
        file = "-" if self.stdin_file is None else self.stdin_file
        with stdin.telling(file):
            return read_file(file, maximum=MAX_STDIN_BYTES, what="standard input")

    def module(self, module: str, maximum: int = MAX_MODULE_BYTES) -> bytes:
        """Read a module, `-` for stdin, of which nothing is left for the job. Raises: `click.ClickException`."""
        return read_file(module, maximum=maximum, what="module")

    def submission(self, module: str, args: tuple[str, ...]) -> Submission:
        """Make a submission of a module's file. Raises: `click.ClickException`."""
        from plasm_core.client.submission import Submission  # trio takes long to load, and not all need it

        if module == "-" and self.stdin_file == "-":
            raise click.UsageError("standard input (-) can be read once only")
        file = self.stdin_file
        stored = file is not None and file != "-" and is_stored(file)
        try:
            return Submission.of(
                self.module(module) if module == "-" else Path(module),
                args=arguments(args),
                env=self.env,
                stdin=Path(file) if stored and file else self.stdin(),
                **self.terms,
            )
        except OSError as exc:
            raise click.ClickException(f"cannot read {exc.filename}: {exc.strerror}") from exc
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from exc


def task(command: F) -> F:
    """Give a command the options of a job; it receives `task: Task`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        stdin_file: str | None,
        env: tuple[str, ...],
        limit: tuple[str, ...],
        seed: str,
        capabilities: tuple[str, ...],
        **values: Any,
    ) -> Any:
        task_limits, wall_time_s = limits(limit)
        found = Task(
            stdin_file=stdin_file,
            env=environment(env),
            limits=task_limits,
            wall_time_s=wall_time_s,
            seed=seed,
            capabilities=capabilities,
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
        help="Standard input, /dev/null for none; by default ours, if it is piped.",
    ),
    click.option("--env", multiple=True, metavar="NAME=VALUE", help="An environment variable for the job."),
    click.option(
        "--limit",
        "limit",
        multiple=True,
        metavar="NAME=VALUE",
        help="A limit: gas=1e9, memory=64MiB, output=1MiB, wall=30s.",
    ),
    click.option("--seed", metavar="HEX", default=ZERO_SEED, help="Seed of the job's randomness, 64 digits."),
    click.option(
        "--capability",
        "capabilities",
        multiple=True,
        type=click.Choice(CAPABILITIES),
        help="Grant the job the real clock or real randomness; it is then not reproducible.",
    ),
)


def output(file: str | None) -> OutputFile | None:
    """Fail before the job runs, not after. Raises: `OutputFileError`."""
    return None if file is None else OutputFile.prepared(file)


@attrs.frozen(kw_only=True)
class Reach:
    """Where a command finds nodes: the daemon here, or the network."""

    remote: bool
    peer: str | None
    bootstrap: tuple[str, ...]
    capability: str
    gateway: bool = False

    @property
    def transport(self) -> str:
        """The name of the transport."""
        return REMOTE_TRANSPORT if self.remote or self.peer is not None or self.bootstrap else "local"

    def check(self) -> None:
        """Refuse what would be dropped. Raises: `click.UsageError`."""
        if self.transport == "local" and self.capability != ANY_NODE:
            raise click.UsageError("--class looks for a node of the network: it needs --remote")
        if self.transport != "local" and self.gateway:
            raise click.UsageError("--gateway and --remote (--peer, --bootstrap) exclude each other")

    def client(self, settings: config.Config, *, transport: str | None = None) -> Client:
        """Make a client. `transport` is where a job is known to be."""
        from plasm_core.client.aio import DEFAULT_DISCOVERY
        from plasm_core.client.blocking import Client

        if self.bootstrap:
            settings = config.with_table(
                settings, "discovery", DEFAULT_DISCOVERY[0], {"bootstrap": list(self.bootstrap)}
            )
        chosen = transport if self.transport == "local" and transport else self.transport
        return Client(
            settings,
            transport=chosen,
            peer=self.peer,
            capability=self.capability,
            gateway=self.gateway and chosen == "local",
        )


REMOTE_TRANSPORT = "libp2p"


def reach(command: F) -> F:
    """Give a command `--remote`, `--peer`, `--bootstrap` and `--class`; it receives `reach: Reach`."""

    @functools.wraps(command)
    def wrapped(
        *args: Any,
        remote: bool,
        peer: str | None,
        bootstrap: tuple[str, ...],
        capability: str,
        gateway: bool,
        **values: Any,
    ) -> Any:
        found = Reach(remote=remote, peer=peer, bootstrap=bootstrap, capability=capability, gateway=gateway)
        found.check()
        return command(*args, reach=found, **values)

    decorated: Any = wrapped
    for option in reversed(_REACH_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


_REACH_OPTIONS = (
    click.option("--remote", is_flag=True, help="On a node of the network, not on the daemon here."),
    click.option("--gateway", is_flag=True, help="On a node of the network that the daemon here looks for."),
    click.option(
        "--peer", metavar="PEER", help="On this node: its PeerId, or an address that ends in it (--remote)."
    ),
    click.option(
        "--bootstrap",
        multiple=True,
        metavar="ADDRESS",
        help="A node to begin the search at, as in /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW… (--remote).",
    ),
    click.option(
        "--class",
        "capability",
        metavar="CLASS",
        default=ANY_NODE,
        help="Look for nodes of this class, as in engine/wasm3 or architecture/aarch64.",
    ),
)
