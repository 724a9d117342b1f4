"""The words in which the values of options are written: numbers with units, durations, limits, names, files."""

from __future__ import annotations

import os

import click

from plasm_core import quantities
from plasm_core.cli import stdin
from plasm_core.cli.unreadable import unreadable
from plasm_core.config import Config
from plasm_core.input_file import TooLargeError, descriptor_of, read_input
from plasm_core.records import Limits
from plasm_core.records.manifest import DEFAULT_LIMITS, MAX_ARGUMENT_BYTES

WALL_S = 60
"""The limit of wall time that a job has whose user names none."""
_MAX_WALL_S = 86_400


def quantity(text: str, *, what: str) -> int:
    """Parse a number such as 65536, 1e9, 64MiB or 2G. Raises: `click.BadParameter`."""
    try:
        return quantities.quantity(text)
    except ValueError as exc:
        raise click.BadParameter(f"{what}: {exc}") from exc


def seconds(text: str, *, what: str) -> int:
    """Parse a duration such as 30, 30s or 5min, in whole seconds. Raises: `click.BadParameter`."""
    try:
        return quantities.seconds(text)
    except ValueError as exc:
        raise click.BadParameter(f"{what}: {exc}") from exc


def limits(pairs: tuple[str, ...]) -> tuple[Limits, int]:
    """Parse `--limit` options. Return the task's limits, and the wall time in seconds."""
    values = {
        "gas": DEFAULT_LIMITS.gas,
        "memory": DEFAULT_LIMITS.memory_bytes,
        "output": DEFAULT_LIMITS.output_bytes,
        "wall": WALL_S,
    }
    given = set()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if name not in values or not equals:
            raise click.BadParameter(f"--limit {pair}: expected {', '.join(values)} with =VALUE")
        if name in given:
            raise click.BadParameter(f"--limit {name} was given more than once: it takes one value")
        given.add(name)
        read = seconds if name == "wall" else quantity
        values[name] = read(text, what=f"--limit {name}")
    if not 1 <= values["wall"] <= _MAX_WALL_S:
        raise click.BadParameter("--limit wall: expected 1s to 24h")
    try:
        return (
            Limits(gas=values["gas"], memory_bytes=values["memory"], output_bytes=values["output"]),
            values["wall"],
        )
    except ValueError as exc:
        name = str(exc).partition(":")[0].removesuffix("_bytes")
        bounds = {"gas": f"1 to {2**53 - 1}", "memory": "64KiB to 4GiB", "output": "0 to 1TiB"}
        raise click.BadParameter(f"--limit {name}: expected {bounds[name]}") from exc


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


def read_module(path: str, config: Config) -> bytes:
    """Read a module that is to run here, `-` for stdin. Raises: `click.ClickException`."""
    maximum = config.admission.module_bytes
    return read_file(path, maximum=maximum, what="module", setting="admission.module_bytes")


def read_file(path: str, *, maximum: int, what: str, hint: str = "", setting: str = "") -> bytes:
    """Read a file, `-` for stdin, of at most `maximum` bytes. Raises: `click.ClickException` (exit code 1).

    If that takes long, a line on the terminal names the file and ends in `hint`. `setting`: the setting that limits
    the size, for the error.
    """
    try:
        with stdin.telling(path, hint):
            return read_input(path, maximum)
    except TooLargeError:
        more = f", the limit {setting}: raise it with --set {setting}={2 * maximum}" if setting else ""
        raise click.ClickException(f"{what} {path} has more than {maximum} bytes{more}") from None
    except OSError as exc:
        raise unreadable(path, exc, what=what) from exc


def stream_of(path: str) -> int | None:
    """Return the file descriptor that a path names, 0 for `-`; None if it names a file."""
    return 0 if path == "-" else descriptor_of(path)


def read_once(*files: str | None) -> None:
    """Refuse to read one stream, such as standard input, twice. Raises: `click.UsageError`."""
    read: set[int] = set()
    for file in files:
        number = None if file is None else stream_of(file)
        if number in read:
            name = "standard input (-)" if number == 0 else file
            raise click.UsageError(f"{name} can be read once only")
        if number is not None:
            read.add(number)
