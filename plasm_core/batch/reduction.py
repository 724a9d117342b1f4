"""Reductions: jobs whose inputs are the results of other jobs, in order, level by level until one result is left.

Each level is a batch of its own, in a folder inside that of the batch whose results it reduces.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from plasm_core.batch.folder import BatchFolder
from plasm_core.batch.inputs import BatchInput
from plasm_core.batch.plan import BatchTerms, Templates, add_jobs
from plasm_core.batch.rows import JobRow
from plasm_core.batch.storage import storage_errors
from plasm_core.records import sha256
from plasm_core.records.output import OutputStream

MODULE = "reduce.wasm"
_INPUTS = "inputs"
_CHUNK_BYTES = 1 << 20


def level_name(level: int) -> str:
    """Return the name of the folder of a level, from 1, in the folder of the batch."""
    return f"reduce-{level}"


def frame_head(size_bytes: int) -> bytes:
    """Return what stands before each result in a reduction's standard input: its length, 8 bytes little-endian."""
    return struct.pack("<Q", size_bytes)


def keep_module(folder: BatchFolder, data: bytes, fan_in: int) -> None:
    """Store the module that reduces a batch's results. `fan_in`: how many results a job takes, 0 for all.

    Raises: `StorageError`.
    """
    with storage_errors(folder.path), _private(folder.path / MODULE) as file:
        file.write(data)
    folder.note(reduce={"module": sha256(data), "fan_in": fan_in})


def levels(folder: BatchFolder) -> Generator[BatchFolder, None, None]:
    """Yield the batch of each level in turn, open; the one before has succeeded by then. Raises: `PlasmError`."""
    said = folder.facts()["reduce"]
    before, level, below = folder, 1, list[BatchFolder]()
    try:
        while before is folder or before.counts().total > 1:
            before = _level(folder, before, level, said)
            below.append(before)
            yield before
            level += 1
    finally:
        for opened in below:
            opened.close()


def _level(top: BatchFolder, before: BatchFolder, level: int, said: dict[str, Any]) -> BatchFolder:
    """Open a level, or make it of the results of the level before. Raises: `PlasmError`."""
    path = top.path / level_name(level)
    if (path / "planned").exists():
        return BatchFolder.open(path)
    with storage_errors(path):
        if path.exists():
            shutil.rmtree(path)  # interrupted before anything was sent
    facts = top.facts()
    total = before.counts().total
    fan_in = said["fan_in"] or total
    kept = {name: facts[name] for name in ("created_at", "terms", "reach")}

    def copy(file: IO[bytes]) -> None:
        with file, (top.path / MODULE).open("rb") as source:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)

    made = BatchFolder.create(
        path, {**kept, "module": said["module"], "module_name": MODULE, "fan_in": fan_in}, copy
    )
    try:
        with storage_errors(path):
            (path / _INPUTS).mkdir(mode=0o700)
            inputs = _inputs(before, path / _INPUTS, fan_in)
            for _ in add_jobs(made, inputs, Templates(), BatchTerms.from_json(facts["terms"])):
                pass
            _private(path / "planned").close()
    except BaseException:
        made.close()
        raise
    return made


def _inputs(before: BatchFolder, place: Path, fan_in: int) -> Iterator[BatchInput]:
    """Yield an input for each group of results, which is written to a file. Memory stays bounded. Raises: OSError."""
    group: list[JobRow] = []
    for row in before.rows():
        group.append(row)
        if len(group) == fan_in:
            yield _input(before, place, group)
            group = []
    if group:
        yield _input(before, place, group)


def _input(before: BatchFolder, place: Path, group: list[JobRow]) -> BatchInput:
    path = place / str(group[0].number)
    with _private(path) as file:
        for row in group:
            kept = before.outputs(row.number)
            inline = row.stdout
            file.write(
                frame_head(kept.file(OutputStream.STDOUT).stat().st_size if inline is None else len(inline))
            )
            kept.copy(row, OutputStream.STDOUT, file)
    return BatchInput(label=f"results {group[0].number} to {group[-1].number}", values={}, stdin=path)


def groups(total: int, fan_in: int) -> Iterable[range]:
    """Return the numbers of the results that each job of a level takes."""
    return (range(first, min(first + fan_in, total)) for first in range(0, total, max(1, fan_in)))


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
