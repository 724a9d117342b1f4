"""The inputs of a batch, read one at a time: lines, files, numbers, tables, job descriptions."""

from __future__ import annotations

import csv
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from plasm_core.batch.template import BatchInputError
from plasm_core.errors import InvalidRecordError
from plasm_core.input_file import open_input, read_some
from plasm_core.missing_path import missing_hint
from plasm_core.records.job_description import JobDescription

MAX_LINE_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 16
_MAX_COLUMNS = 1024
_MOST_JOBS = 2**40


@attrs.frozen(kw_only=True)
class BatchInput:
    """One input: what it is called in messages, its fields for templates, and its standard input.

    `stdin`: bytes or the path of a file, None if the input has none of its own.
    """

    label: str
    values: Mapping[str, str]
    stdin: bytes | Path | None = None
    description: JobDescription | None = None


def lines_of(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file (`-`: standard input) with their numbers from 1, without their ends.

    Raises: `BatchInputError` if it cannot be read, or a line has more than `MAX_LINE_BYTES`.
    """
    try:
        with open_input(path) as file:
            yield from lines_in(iter(lambda: read_some(file, _CHUNK_BYTES), b""), shown_path(path))
    except OSError as exc:
        hint = missing_hint(path) if isinstance(exc, FileNotFoundError) else None
        raise BatchInputError(f"cannot read {shown_path(path)}: {exc.strerror}", hint=hint) from exc


def lines_in(chunks: Iterable[bytes], shown: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of bytes that come in chunks, numbered from 1. Raises: `BatchInputError`, as `lines_of`."""
    number, rest = 1, b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield number, _line(line, number, shown)
            number += 1
        _line(rest, number, shown)
    if rest:
        yield number, _line(rest, number, shown)


def _line(line: bytes, number: int, shown: str) -> bytes:
    if len(line) > MAX_LINE_BYTES:
        raise BatchInputError(f"line {number} of {shown} has more than {MAX_LINE_BYTES} bytes")
    return line[:-1] if line.endswith(b"\r") else line


def shown_path(path: str) -> str:
    """Return how a path is called in messages."""
    return "standard input" if path == "-" else path


def from_lines(path: str) -> Iterator[BatchInput]:
    """Yield an input a line: `{}` is the line; as standard input it ends with a line feed."""
    for number, line in lines_of(path):
        label = f"line {number} of {shown_path(path)}"
        yield BatchInput(label=label, values={"": os.fsdecode(line)}, stdin=line + b"\n")


def from_files(paths: Sequence[str]) -> Iterator[BatchInput]:
    """Yield an input a file: `{}` is its path, `{name}` its name, `{stem}` that without its ending.

    Raises: `BatchInputError` on what is no file that can be read again, such as a directory or a pipe.
    """
    for path in paths:
        try:
            found = os.stat(path)
        except (OSError, ValueError) as exc:
            hint = missing_hint(path) if isinstance(exc, FileNotFoundError) else None
            problem = getattr(exc, "strerror", exc)
            raise BatchInputError(f"cannot read the input {path}: {problem}", hint=hint) from exc
        if stat.S_ISDIR(found.st_mode):
            raise BatchInputError(f"the input {path} is a directory", hint=f"name its files, as in {path}/*")
        if not stat.S_ISREG(found.st_mode):
            raise BatchInputError(f"the input {path} is no file: a batch may have to read it again")
        file = Path(path)
        yield BatchInput(
            label=path, values={"": path, "name": file.name, "stem": file.stem}, stdin=file.absolute()
        )


def from_range(text: str) -> Iterator[BatchInput]:
    """Yield an input a number of `END`, `START:END` or `START:END:STEP`, where END is left out: `{}` is the number.

    Raises: `BatchInputError`.
    """
    try:
        numbers = [int(part) for part in text.split(":")]
        if not 1 <= len(numbers) <= 3 or any(abs(number) > _MOST_JOBS for number in numbers):
            raise ValueError(text)
        chosen = range(*numbers)
    except ValueError:
        raise BatchInputError(
            f"--range {text}: expected END, START:END or START:END:STEP",
            hint="as in 0:500, which ends at 499",
        ) from None
    for number in chosen:
        yield BatchInput(label=f"number {number}", values={"": str(number)})


def from_csv(path: str) -> Iterator[BatchInput]:
    """Yield an input a row of a table whose first row has the names of the columns. Raises: `BatchInputError`."""
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for last, line in lines_of(path):
            try:
                text = line.decode("utf-8-sig" if last == 1 else "utf-8")
            except UnicodeDecodeError as exc:
                raise BatchInputError(f"line {last} of {shown_path(path)} is not UTF-8") from exc
            yield text + "\n"

    reader = csv.reader(texts(), strict=True)
    try:
        names = next(reader, None)
        if not names:
            raise BatchInputError(f"{shown_path(path)} has no first row with the names of its columns")
        if len(set(names)) != len(names) or "" in names or len(names) > _MAX_COLUMNS:
            raise BatchInputError(
                f"{shown_path(path)}: the names of the columns are not distinct, or too many: {names!r:.200}"
            )
        for row in reader:
            label = f"line {last} of {shown_path(path)}"
            if not row:
                continue
            if len(row) != len(names):
                raise BatchInputError(f"{label} has {len(row)} columns, and the first row has {len(names)}")
            yield BatchInput(label=label, values=dict(zip(names, row, strict=True)))
    except csv.Error as exc:
        raise BatchInputError(f"line {last} of {shown_path(path)}: {exc}") from exc


def from_jsonl(path: str) -> Iterator[BatchInput]:
    """Yield an input a line that is a JSON object: its names are the fields, `{}` is the line.

    Values that are no strings are filled in as JSON. Raises: `BatchInputError`.
    """
    for number, line in lines_of(path):
        if not line.strip():
            continue
        label = f"line {number} of {shown_path(path)}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise BatchInputError(f"{label} is not JSON: {exc}") from exc
        if not isinstance(value, dict):
            raise BatchInputError(f"{label} is no JSON object")
        values = {name: item if isinstance(item, str) else json.dumps(item) for name, item in value.items()}
        yield BatchInput(label=label, values={"": os.fsdecode(line), **values})


def from_descriptions(path: str) -> Iterator[BatchInput]:
    """Yield a job a line, each a `JobDescription`. Raises: `BatchInputError`."""
    for label, found in described(lines_of(path), shown_path(path)):
        stdin: bytes | Path | None = found.stdin_bytes()
        if found.stdin_file is not None:
            stdin = Path(found.stdin_file)
            if not stdin.is_file():
                raise BatchInputError(f"{label}: there is no file {found.stdin_file}")
            stdin = stdin.absolute()
        yield BatchInput(label=label, values={}, stdin=stdin, description=found)


def described(lines: Iterable[tuple[int, bytes]], shown: str) -> Iterator[tuple[str, JobDescription]]:
    """Yield the job of each line with what it is called in messages. Raises: `BatchInputError`."""
    for number, line in lines:
        if not line.strip():
            continue
        label = f"line {number} of {shown}"
        try:
            found = JobDescription.from_json(line)
        except InvalidRecordError as exc:
            raise BatchInputError(f"{label} is no job: {exc}") from exc
        if found.name is not None:
            label = f"{found.name} ({label})"
        yield label, found
