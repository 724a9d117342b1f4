"""Scripts in place of a module: an interpreter that the configuration names runs them (docs/scripts.md)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import click

from plasm_core.cli.file_options import FileOptions
from plasm_core.cli.host_paths import split_directory, split_file
from plasm_core.cli.option_values import stream_of
from plasm_core.cli.unreadable import unreadable
from plasm_core.errors import BadModuleError
from plasm_core.input_file import is_stored
from plasm_core.interpreter import Interpreter

_MAGIC = b"\0asm"
_MODULES = frozenset({"wasm", "wat"})
_SOURCES = frozenset({"c", "cc", "cpp", "cxx", "go", "rs", "ts", "zig"})
_CHUNK_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class ScriptJob:
    """A job that runs a script: the interpreter's module and arguments, and the files that it is given."""

    module: str
    args: tuple[str, ...]
    env: tuple[bytes, ...]
    files: FileOptions


def as_script(
    script: str,
    args: tuple[str, ...],
    files: FileOptions,
    interpreters: Mapping[str, Interpreter],
    *,
    named: str | None,
) -> ScriptJob | None:
    """Return the job that runs a script, None if the file is a module.

    `named`: the extension whose interpreter runs it, None for its own. Raises: `click.ClickException`.
    """
    extension = os.path.splitext(script)[1].removeprefix(".").lower() if named is None else named
    interpreter = interpreters.get(extension)
    if interpreter is None:
        if named is not None:
            there = ", ".join(interpreters) or "none"
            raise click.UsageError(f"--interpreter {named}: the configuration has {there} in [interpreters]")
        _refuse_unknown(script, extension)
        return None
    if stream_of(script) is not None or (named is None and _is_module(script)):
        return None
    module = os.path.expanduser(interpreter.module)
    _check_digest(module, interpreter, extension)
    guest = _place(script, files)
    if guest is None:
        guest = os.path.basename(script)
        files = attrs.evolve(files, files=(*files.files, f"{script}:{guest}"))
    directories = tuple(map(os.path.expanduser, interpreter.dirs))
    return ScriptJob(
        module=module,
        args=(*interpreter.args, f"/{guest}", *args),
        env=tuple(map(os.fsencode, interpreter.env)),
        files=attrs.evolve(files, directories=(*files.directories, *directories)),
    )


def _refuse_unknown(script: str, extension: str) -> None:
    """Refuse a file that is neither a module nor named like one. Raises: `BadModuleError`, `click.ClickException`."""
    if extension in _MODULES or not extension or not is_stored(script) or _is_module(script):
        return
    compiled = "compile it for wasm32-wasi and run the module (docs/quickstart.md#your-own-module)"
    raise BadModuleError(
        "not_wasm",
        f"{script} is no WebAssembly module",
        hint=compiled
        if extension in _SOURCES
        else f"to run it as a script, name its interpreter in [interpreters.{extension}] of the configuration "
        "(docs/scripts.md)",
    )


def _is_module(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as exc:
        raise unreadable(path, exc) from exc


def _place(script: str, files: FileOptions) -> str | None:
    """Return the script's path in the job's tree, if a --file or --dir already includes it."""
    real = Path(script).resolve()
    for text in files.files:
        host, guest = split_file(text)
        if Path(host).resolve() == real:
            return guest.strip("/")
    for text in files.directories:
        host, guest, _ = split_directory(text)
        try:
            inside = real.relative_to(Path(host).resolve())
        except ValueError:
            continue
        return os.path.normpath(os.path.join(guest.strip("/"), inside))
    return None


def _check_digest(module: str, interpreter: Interpreter, extension: str) -> None:
    """Refuse an interpreter that is not the one that the configuration means. Raises: `click.ClickException`."""
    digest = hashlib.sha256()
    try:
        with open(module, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as exc:
        raise click.ClickException(
            f"cannot read the interpreter for .{extension}, {module}: {exc.strerror}"
        ) from exc
    if digest.hexdigest() != interpreter.sha256:
        raise click.ClickException(
            f"the interpreter for .{extension}, {module}, has another SHA-256 than interpreters.{extension}.sha256 "
            f"says: {digest.hexdigest()}"
        )
