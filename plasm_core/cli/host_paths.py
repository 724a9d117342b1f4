"""The paths of this machine in `--file`, `--dir` and `--tree`, and what to do about one that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from plasm_core.cli.unreadable import InputFileError
from plasm_core.missing_path import missing_hint


@contextmanager
def reading(option: str, text: str, host: str, guest: str) -> Iterator[None]:
    """Say which option names a path that cannot be read, and what is wrong with it. Raises: `InputFileError`."""
    try:
        yield
    except OSError as exc:
        name = exc.filename if isinstance(exc.filename, str) else host
        hint = _path_hint(option, text, host, guest) if name == host else None
        raise InputFileError(f"{option} {text}: cannot read {name}: {exc.strerror}", hint) from exc
    except ValueError as exc:
        hint = _path_hint(option, text, host, guest) if os.path.isdir(host) and option != "--dir" else None
        raise InputFileError(f"{option} {text}: {exc}", hint) from exc


def _path_hint(option: str, text: str, host: str, guest: str) -> str | None:
    """Return what the user may have meant by a path that is missing, or of another kind than the option takes."""
    if os.path.isdir(host):
        return f"{host} is a directory: give it with --dir {host}:{os.path.basename(os.path.abspath(host))}"
    if os.path.isfile(host):
        return None if option != "--dir" else f"{host} is a file: give it with --file {host}:{guest}"
    if os.path.exists(host):
        return None
    if os.path.exists(text):
        return f"a colon ends the path of this machine: {option} {text}:GUEST names a place for it in the job's tree"
    swapped = f"the path of this machine comes first: {option} {guest}:{host.strip('/')}"
    return missing_hint(host, otherwise=swapped if os.path.exists(guest) else None)


def split_file(text: str) -> tuple[str, str]:
    """Read HOST[:GUEST]. Return both."""
    host, _, guest = text.rpartition(":")
    return (host, guest) if host else (text, os.path.basename(text))


def split_directory(text: str) -> tuple[str, str, bool]:
    """Read HOST:GUEST[:rw]. Return both, and whether the job may change it."""
    rest = text.removesuffix(":rw")
    host, _, guest = rest.rpartition(":")
    if not host:
        host, guest = rest, os.path.basename(os.path.abspath(rest))
    return host, guest, rest != text


def split_archive(text: str) -> tuple[str, str, bool]:
    """Read FILE[:GUEST[:rw]]. Return both, and whether the job may change it: at the root it always may."""
    if os.path.exists(text):
        return text, "", True
    rest = text.removesuffix(":rw")
    host, _, guest = rest.rpartition(":")
    return (host, guest, rest != text) if host else (rest, "", True)
