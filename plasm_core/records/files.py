"""A job's files: the requests of a manifest, and the outputs that a receipt states (docs/files.md)."""

from __future__ import annotations

import functools
import re
import struct

import attrs

from plasm_core.records.digest import list_digest
from plasm_core.records.fields import (
    Constraint,
    ConstraintError,
    constrained,
    counter,
    digest,
    integer,
    one_of,
)
from plasm_core.tree_listing import MAX_ENTRIES, MAX_PATH_BYTES, ListingError, check_path

MAX_PATHS = 64
"""How many outputs a job may name, and how many read-only paths."""
MAX_DATA_BYTES = 2**32
MAX_DESCRIPTORS = 4_096
LEAST_DESCRIPTORS = 4
ROOT = "."
"""The path of a tree's root, in a manifest."""


_NAME = r"(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]+"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATTERN = rf"^(\.|{_NAME}(/{_NAME})*)$"


def path_bytes(path: str) -> bytes:
    """Return a manifest's path in the form of a listing: empty for the root."""
    return b"" if path == ROOT else path.encode()


def guest_path() -> Constraint:
    """A path of a job's tree without control characters; `.` for the root."""

    return Constraint(
        expected=lambda _: "a relative path of the job's files without empty names, . and ..",
        schema={"type": "string", "maxLength": 1024, "pattern": _PATTERN},
        # A longer text is not looked up: the cache would keep it, and a message may have 128 KiB of it.
        accepts=lambda value: (
            isinstance(value, str) and len(value) <= MAX_PATH_BYTES and _is_guest_path(value)
        ),
    )


@functools.lru_cache(maxsize=256)
def _is_guest_path(value: str) -> bool:
    """Return whether a text is a path of a job's tree. A manifest's are asked about several times."""
    if _CONTROL.search(value):
        return False
    if value == ROOT:
        return True
    try:
        check_path(value.encode())
    except (ListingError, UnicodeEncodeError):
        return False
    return True


def guest_paths() -> Constraint:
    """A list of distinct paths of a job's tree, in any order; held as a sorted tuple."""
    one = guest_path()

    def load(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(map(one.accepts, value)):
            raise ConstraintError("not a list of paths")
        if len(set(value)) != len(value):
            raise ConstraintError("not distinct")
        return tuple(sorted(value))

    return Constraint(
        expected=lambda _: f"a list of at most {MAX_PATHS} distinct relative paths of the job's files",
        schema={"type": "array", "items": one.schema, "uniqueItems": True, "maxItems": MAX_PATHS},
        accepts=lambda value: (
            isinstance(value, tuple)
            and len(value) <= MAX_PATHS
            and all(map(one.accepts, value))
            and list(value) == sorted(set(value))
        ),
        load=load,
        dump=list,
    )


def _nested(paths: tuple[str, ...]) -> str | None:
    """Return a path that is inside another one, None if there is none."""
    outer = tuple(f"{path}/" for path in paths)
    for path in paths:
        if path != ROOT and (ROOT in paths or path.startswith(outer)):
            return path
    return None


@attrs.frozen(kw_only=True)
class FileLimits:
    """The limits of a job's files: the bytes that it writes, names in its tree, open descriptors."""

    data_bytes: int = constrained(integer(0, MAX_DATA_BYTES))
    entries: int = constrained(integer(0, MAX_ENTRIES))
    descriptors: int = constrained(integer(LEAST_DESCRIPTORS, MAX_DESCRIPTORS))

    @property
    def memory_bytes(self) -> int:
        """The most bytes of a worker's memory that the files may use: the written bytes, whose buffers grow by
        eighths, and inodes.
        """
        return self.data_bytes * 5 // 4 + self.entries * 2_048


DEFAULT_FILE_LIMITS = FileLimits(data_bytes=256 << 20, entries=MAX_ENTRIES, descriptors=1_024)
"""What our clients ask for when their user names nothing."""


@attrs.frozen(kw_only=True)
class JobFiles:
    """A job's files. `tree`: the digest of the listing of its input tree; `outputs`: the paths that are kept."""

    tree: str = constrained(digest())
    read_only: tuple[str, ...] = constrained(guest_paths())
    outputs: tuple[str, ...] = constrained(guest_paths())
    limits: FileLimits

    def __attrs_post_init__(self) -> None:
        inner = _nested(self.outputs)
        if inner is not None:
            raise ConstraintError(f"outputs: {inner} lies in another output")

    @property
    def digested(self) -> list[tuple[str, bytes]]:
        """The fields of the task digest about the files, in order (docs/files.md)."""
        limits = self.limits
        return [
            ("tree", bytes.fromhex(self.tree)),
            ("read-only", bytes.fromhex(list_digest(sorted(map(path_bytes, self.read_only))))),
            ("outputs", bytes.fromhex(list_digest(sorted(map(path_bytes, self.outputs))))),
            ("file-bytes", struct.pack("<Q", limits.data_bytes)),
            ("file-entries", struct.pack("<Q", limits.entries)),
            ("file-descriptors", struct.pack("<Q", limits.descriptors)),
        ]


@attrs.frozen(kw_only=True)
class AskedFileLimits:
    """The limits of a task's files, as strings."""

    json_camel = True
    json_open = True

    data_bytes: int = constrained(counter())
    entries: int = constrained(counter())
    descriptors: int = constrained(counter())


@attrs.frozen(kw_only=True)
class AskedFiles:
    """A task's files as a receipt restates them."""

    json_camel = True
    json_open = True

    tree: str = constrained(digest())
    read_only: tuple[str, ...] = constrained(guest_paths())
    outputs: tuple[str, ...] = constrained(guest_paths())
    limits: AskedFileLimits

    @classmethod
    def of(cls, files: JobFiles) -> AskedFiles:
        """Restate a manifest's."""
        return cls(
            tree=files.tree,
            read_only=files.read_only,
            outputs=files.outputs,
            limits=AskedFileLimits(**attrs.asdict(files.limits)),
        )

    def as_asked(self) -> JobFiles:
        """Return the manifest's request. Raises: ValueError if no manifest could contain it."""
        return JobFiles(
            tree=self.tree,
            read_only=self.read_only,
            outputs=self.outputs,
            limits=FileLimits(**attrs.asdict(self.limits)),
        )


@attrs.frozen(kw_only=True, order=True)
class Product:
    """An output that a job left: a file with the digest of its bytes, or a tree with the digest of its listing."""

    path: str = constrained(guest_path())
    kind: str = constrained(one_of("file", "tree"))
    sha256: str = constrained(digest())

    @property
    def subject(self) -> str:
        """Its name among a receipt's subjects."""
        return f"{self.kind}:{self.path}"
