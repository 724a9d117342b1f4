"""The two outputs of a job, and the digest of each."""

from __future__ import annotations

import enum
import hashlib

import attrs

EMPTY_SHA256 = hashlib.sha256().hexdigest()


class OutputStream(enum.IntEnum):
    """An output of a job. The numbers are the guest's file descriptors."""

    STDOUT = 1
    STDERR = 2

    label: str
    """The output's name in messages and file names."""


for _stream in OutputStream:
    _stream.label = _stream.name.lower()


@attrs.frozen(kw_only=True)
class OutputDigest:
    """Size and SHA-256 digest (hexadecimal) of one output."""

    size_bytes: int = 0
    sha256: str = EMPTY_SHA256


class OutputHasher:
    """Computes the digest of one output piece by piece."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def update(self, data: bytes) -> None:
        """Add the output's next bytes."""
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def digest(self) -> OutputDigest:
        """Size and digest of all bytes so far."""
        return OutputDigest(size_bytes=self.size_bytes, sha256=self._sha256.hexdigest())
