"""Handles as arguments: given by a file or standard input, which other users cannot read off the list of processes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from plasm_core import standard_streams
from plasm_core.cli import stdin
from plasm_core.errors import InvalidRecordError
from plasm_core.input_file import TooLargeError, read_input
from plasm_core.printable import visible
from plasm_core.records import Handle

MAX_HANDLE_BYTES = 4096


def given_handle(text: str) -> str:
    """Return the handle that an argument gives: its text, the content of a file (`@FILE` or its name), or stdin for `-`.

    Other text is returned unchanged. Raises: `click.BadParameter` if a file contains no handle.
    """
    if text == "-":
        return _from_stdin()
    named = text[1:] if text.startswith("@") else text
    if text.startswith("@") or (not text.startswith("phase0-") and _is_file(text)):
        return _from_file(named)
    return text


def is_job_id(text: str) -> bool:
    """Return whether a text is a prefix of a job id."""
    return re.fullmatch("[0-9a-f]{4,64}", text) is not None


def _is_file(text: str) -> bool:
    try:
        return not is_job_id(text) and Path(text).is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL
        return False


def _from_stdin() -> str:
    if sys.stdin is None or sys.stdin.closed or not standard_streams.is_open(0):
        raise click.BadParameter("-: there is no standard input to read the handle from")
    if sys.stdin.isatty():
        click.echo("reading the handle from standard input", err=True)
    with stdin.telling("-"):
        data = sys.stdin.buffer.readline(MAX_HANDLE_BYTES + 1)  # bytes, because the content need not be text
    return _checked(data.decode("utf-8", "replace"), "standard input")


def _from_file(name: str) -> str:
    if name == "-":
        return _from_stdin()
    try:
        with stdin.telling(name):
            data = read_input(name, MAX_HANDLE_BYTES)
    except TooLargeError:
        raise click.BadParameter(f"{visible(name)} holds more than a handle") from None
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise click.BadParameter(f"cannot read the handle from {visible(name)}: {reason}") from exc
    return _checked(data.decode("utf-8", "replace"), visible(name))


def _checked(text: str, where: str) -> str:
    """Return the handle in a text. Its content is not shown: it may be another secret."""
    words = text.split()
    if len(text) > MAX_HANDLE_BYTES or len(words) != 1:
        raise click.BadParameter(f"{where} holds {'no handle' if not words else 'more than a handle'}")
    if not is_job_id(words[0]):
        try:
            Handle.parse(words[0])
        except InvalidRecordError as exc:
            raise click.BadParameter(f"{where} holds no handle: {exc}") from exc
    return words[0]
