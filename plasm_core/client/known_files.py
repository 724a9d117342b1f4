"""Where the files of this user's jobs are, so that a bundle can be made of a handle or a receipt alone.

Arguments and variables may be secrets: the file is for its owner only. A file that has changed since is of no use, and
its digest tells.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from plasm_core import paths
from plasm_core.client.upload import Bytes, File, Source
from plasm_core.errors import InvalidRecordError, OutputFileError, StorageError
from plasm_core.output_file import OutputFile
from plasm_core.ownership import open_regular
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.digest import encode_list
from plasm_core.records.fields import constrained, digest, text
from plasm_core.records.outcome import optional

MAX_ENTRIES = 1000
_MAX_LIST_CHARACTERS = 16_384
_MAX_LINE_BYTES = 65_536
_PATH = text(pattern=r"/[^\x00]*", maximum=4096)


@attrs.frozen(kw_only=True)
class KnownJob:
    """The files of one job by absolute path; arguments and environment as base64 of the list encoding, if short."""

    json_camel = True
    json_open = True

    job_id: str = constrained(digest())
    module: str | None = constrained(optional(_PATH), default=None)
    stdin: str | None = constrained(optional(_PATH), default=None)
    args: str = constrained(text(maximum=_MAX_LIST_CHARACTERS), default="")
    env: str = constrained(text(maximum=_MAX_LIST_CHARACTERS), default="", shown=False)


class KnownFiles:
    """A file of jobs, the oldest first, at most `MAX_ENTRIES`."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or paths.state_directory() / "jobs" / "files.jsonl"

    def add(
        self,
        job_id: str,
        *,
        module: str | None,
        stdin: str | None,
        args: Sequence[bytes] = (),
        env: Sequence[bytes] = (),
    ) -> None:
        """Remember a job. `module`, `stdin`: paths; None if not read from a file. Raises: `StorageError`."""
        entry = KnownJob(
            job_id=job_id,
            module=_absolute(module),
            stdin=_absolute(stdin),
            args=_encoded(args),
            env=_encoded(env),
        )
        try:
            paths.private_directory(self._path.parent)
            lock = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                kept = [found for found in self._entries() if found.job_id != job_id]
                lines = [encode_json(item) + b"\n" for item in [*kept, entry][-MAX_ENTRIES:]]
                OutputFile.prepared(self._path).write(b"".join(lines), mode=0o600)
            finally:
                os.close(lock)
        except OutputFileError as exc:
            raise StorageError(str(exc)) from exc
        except OSError as exc:
            raise StorageError(f"cannot write {self._path}: {exc.strerror}") from exc

    def of(self, job_id: str) -> list[Source]:
        """Open the known files of a job that are still readable. The caller compares their digests and closes them."""
        found: list[Source] = []
        for entry in self._entries():
            if entry.job_id != job_id:
                continue
            for path in (entry.module, entry.stdin):
                if path is not None:
                    with contextlib.suppress(OSError):
                        found.append(File(path))
            for encoded in (entry.args, entry.env):
                with contextlib.suppress(ValueError):
                    found.append(Bytes(base64.b64decode(encoded, validate=True)))
        return found

    def _entries(self) -> Iterator[KnownJob]:
        try:
            with open_regular(self._path) as file:
                data = file.read()
        except OSError:
            return
        for line in data.splitlines():
            with contextlib.suppress(InvalidRecordError):
                yield structure(
                    parse_json(line, record="entry", maximum=_MAX_LINE_BYTES), KnownJob, record="entry"
                )


def _absolute(path: str | None) -> str | None:
    if path is None or path == "-":
        return None
    found = os.path.abspath(path)
    return found if len(found) <= 4096 and os.path.isfile(found) else None


def _encoded(items: Sequence[bytes]) -> str:
    encoded = base64.b64encode(encode_list(tuple(items))).decode()
    return encoded if len(encoded) <= _MAX_LIST_CHARACTERS else ""
