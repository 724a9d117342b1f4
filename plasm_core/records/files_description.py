"""The description of a job's files in a form of the HTTP API: what is kept, what is read-only, and the limits."""

from __future__ import annotations

import attrs

from plasm_core.records.converter import parse_json, structure
from plasm_core.records.fields import constrained, integer, names
from plasm_core.records.files import (
    DEFAULT_FILE_LIMITS,
    LEAST_DESCRIPTORS,
    MAX_DATA_BYTES,
    MAX_DESCRIPTORS,
    FileLimits,
)
from plasm_core.tree_listing import MAX_ENTRIES, MAX_PATH_BYTES

MAX_DESCRIPTION_BYTES = 1 << 20
_PATHS = names(r"[^\x00-\x1f\x7f]+", MAX_PATH_BYTES, what="paths")


@attrs.frozen(kw_only=True)
class FileLimitsDescription:
    """The limits of a job's files: bytes that it writes, names in its tree, open descriptors."""

    data_bytes: int = constrained(integer(0, MAX_DATA_BYTES), default=DEFAULT_FILE_LIMITS.data_bytes)
    entries: int = constrained(integer(0, MAX_ENTRIES), default=DEFAULT_FILE_LIMITS.entries)
    descriptors: int = constrained(
        integer(LEAST_DESCRIPTORS, MAX_DESCRIPTORS), default=DEFAULT_FILE_LIMITS.descriptors
    )

    @property
    def limits(self) -> FileLimits:
        """The same as a manifest has them."""
        return FileLimits(data_bytes=self.data_bytes, entries=self.entries, descriptors=self.descriptors)


@attrs.frozen(kw_only=True)
class FilesDescription:
    """What a job does with its files, beside those that it is given.

    `outputs`: paths of the job's tree that are kept; one with a slash at its end is a directory that is made.
    `read_only`: paths below which the job can change nothing.
    """

    outputs: tuple[str, ...] = constrained(_PATHS, default=())
    read_only: tuple[str, ...] = constrained(_PATHS, default=())
    limits: FileLimitsDescription = attrs.field(factory=FileLimitsDescription)

    @classmethod
    def from_json(cls, data: bytes) -> FilesDescription:
        """Parse a description. Raises: `InvalidRecordError`, naming every problem with its path."""
        value = parse_json(data, record="files description", maximum=MAX_DESCRIPTION_BYTES)
        return structure(value, cls, record="files description")
