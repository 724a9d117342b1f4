"""Find the profile that a module needs by its sections: a client has no engine to validate it."""

from __future__ import annotations

import functools

from plasm_core.client.upload import Bytes, Source
from plasm_core.records.manifest import PROFILE_V2

_MAGIC = b"\0asm\x01\0\0\0"
_CUSTOM, _TAG = 0, 13
_HEAD_BYTES = 6  # a section's number and length
_MAX_SECTIONS = 1_000
_FEATURES, _TAIL_CALL = b"\x0ftarget_features", b"+\x09tail-call"
"""The custom section in which LLVM lists a module's features (WebAssembly tool conventions, "Target Features")."""
_MAX_FEATURES_BYTES = 4_096
_SMALL_BYTES = 128 << 10
"""Larger modules are read again for each job."""


def needed_profile(module: Source) -> str | None:
    """Return the profile that a module needs by its sections, None if they name no need.

    A section of tags means exceptions. Tail calls show only in LLVM's section of target features, which `strip`
    removes: a node then refuses the job, and names the option. Reads a few bytes of each section. Raises: OSError.
    """
    if isinstance(module, Bytes) and len(module.data) <= _SMALL_BYTES:
        return _profile_of(module.data)
    return _read_profile(module)


@functools.lru_cache(maxsize=8)
def _profile_of(data: bytes) -> str | None:
    return _read_profile(Bytes(data))


def _read_profile(module: Source) -> str | None:
    if module.read(0, len(_MAGIC)) != _MAGIC:
        return None
    position = len(_MAGIC)
    for _ in range(_MAX_SECTIONS):
        head = module.read(position, _HEAD_BYTES)
        size = _length(head[1:])
        if size is None:
            return None
        length, taken = size
        position += 1 + taken
        if head[0] == _TAG:
            return PROFILE_V2
        if head[0] == _CUSTOM:
            content = module.read(position, min(length, _MAX_FEATURES_BYTES))
            if content.startswith(_FEATURES) and _TAIL_CALL in content:
                return PROFILE_V2
        position += length
    return None


def _length(data: bytes) -> tuple[int, int] | None:
    """Return an unsigned LEB128 and how many bytes it takes, None if it is cut short or too long."""
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, index + 1
    return None
