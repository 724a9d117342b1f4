"""The handles of the jobs this user submitted, so that `plasm jobs` can list them.

They open the jobs: the file is for its owner only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import attrs

from plasm_core.client.submitted_job import Sent
from plasm_core.errors import InvalidRecordError, OutputFileError, StorageError
from plasm_core.output_file import OutputFile
from plasm_core.ownership import open_regular
from plasm_core.paths import private_directory
from plasm_core.printable import cleaned
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.fields import boolean, constrained, integer, text, timestamp
from plasm_core.records.handle import Handle

MAX_ENTRIES = 1000
_MAX_LINE_BYTES = 4096


@attrs.frozen(kw_only=True)
class Entry:
    """One submitted job: its handle, the module's file name, the time of submission, and the transport.

    `output_bytes`: the job's limit for each output, 0 if unknown; `file_bytes`: the limit of its output files
    together, 0 if unknown. `gateway`: the job was submitted through the daemon as a gateway.
    """

    json_open = True

    handle: str = constrained(text(maximum=1024), shown=False)
    module: str = constrained(text(pattern=r"[^\x00-\x1f]*", maximum=255))
    submitted_at: datetime = constrained(timestamp())
    transport: str = constrained(text(pattern=r"[a-z0-9]+", maximum=64), default="local")
    output_bytes: int = constrained(integer(0), default=0)
    file_bytes: int = constrained(integer(0), default=0)
    gateway: bool = constrained(boolean(), default=False)

    @property
    def sent(self) -> Sent:
        """The terms under which it was submitted."""
        return Sent(
            output_bytes=self.output_bytes or None,
            file_bytes=self.file_bytes or None,
            through_gateway=self.gateway,
        )

    @property
    def parsed(self) -> Handle:
        """The handle, parsed from its text."""
        return Handle.parse(self.handle)


class JobHistory:
    """A file of entries, the oldest first, at most `MAX_ENTRIES`. It holds secrets: only its owner may read it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> list[Entry]:
        """Return the remembered jobs. Unreadable lines are skipped."""
        try:
            with open_regular(self._path) as file:
                return list(_parsed(file.read()))
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise StorageError(f"cannot read {self._path}: {exc.strerror}") from exc

    def add(
        self,
        handle: Handle,
        module: str,
        transport: str,
        *,
        output_bytes: int = 0,
        file_bytes: int = 0,
        gateway: bool = False,
    ) -> None:
        """Remember a job; the oldest is forgotten beyond `MAX_ENTRIES`. The parameters are the fields of `Entry`.

        Raises: `StorageError`.
        """
        name = cleaned(module, maximum=255, instead="?")
        entry = Entry(
            handle=str(handle),
            module=name,
            submitted_at=datetime.now(timezone.utc),
            transport=transport,
            output_bytes=output_bytes,
            file_bytes=file_bytes,
            gateway=gateway,
        )
        with self._rewritten() as entries:
            entries.append(entry)
            del entries[:-MAX_ENTRIES]

    def check(self) -> None:
        """Check that a job could be remembered, by rewriting the file. Raises: `StorageError`."""
        with self._rewritten():
            pass

    def forget(self, job_ids: set[str]) -> None:
        """Forget jobs by their ids. Raises: `StorageError`."""
        with self._rewritten() as entries:
            entries[:] = [entry for entry in entries if entry.parsed.job_id not in job_ids]

    def find(self, prefix: str) -> list[Entry]:
        """Return the entries whose job id begins with a prefix."""
        return [entry for entry in self.entries() if entry.parsed.job_id.startswith(prefix)]

    @contextmanager
    def _rewritten(self) -> Iterator[list[Entry]]:
        """Read all entries under a lock, let the caller change them, and write them back."""
        try:
            private_directory(self._path.parent)
            lock = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self.entries()
                yield entries
                OutputFile.prepared(self._path).write(
                    b"".join(encode_json(entry) + b"\n" for entry in entries), mode=0o600
                )
            finally:
                os.close(lock)
        except OutputFileError as exc:
            raise StorageError(str(exc)) from exc
        except OSError as exc:
            raise StorageError(f"cannot write {self._path}: {exc.strerror}") from exc


def _parsed(data: bytes) -> Iterator[Entry]:
    for line in data.splitlines():
        try:
            entry = structure(
                parse_json(line, record="entry", maximum=_MAX_LINE_BYTES), Entry, record="entry"
            )
            entry.parsed  # noqa: B018 - one that is no handle is of no use
        except InvalidRecordError:
            continue
        yield entry
