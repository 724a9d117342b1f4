"""Pages of a zygote that fork copies at once, because its workers will write to them anyway.

A forked process shares its parent's pages until it first writes to one: a page fault, which takes some three
times as long as the copy. Counting references writes a great deal. Pages that a device may write to cannot be
shared, and fork copies them on the spot (Linux 5.10, `copy_present_page`). So a zygote has one worker
rehearse, sees which pages that one has copied, and registers them as buffers of an io_uring that can never
carry a request.

If io_uring is disabled, or the limit on locked memory is too low, workers copy page by page and are slower.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

REGISTER_BUFFERS = 0
"""The one operation of io_uring_register that a zygote may ask for."""

_IO_URING_SETUP, _IO_URING_REGISTER = 425, 427
_PARAMETERS = struct.pack("<8xI108x", 1 << 6)  # IORING_SETUP_R_DISABLED: no requests before it is enabled
_PAGE_BYTES = 4_096
_MAX_BUFFERS = 1_024
_MAX_PAGES = 1_024
_MAX_AREA_PAGES = 8_192  # larger mappings are the guest's memory
_READ_BYTES = 1 << 16

# Documentation/admin-guide/mm/pagemap.rst
_ENTRY = struct.Struct("=Q")
_PRESENT, _FILE_OR_SHARED, _EXCLUSIVE = 1 << 63, 1 << 61, 1 << 56


class Pins:
    """Pins memory pages of this process by io_uring. Create it before the process is locked down: it opens files."""

    def __init__(self) -> None:
        self.pinned = False
        self._ring = self._maps = self._pagemap = -1
        self._areas: list[tuple[int, int]] = []
        if not sys.platform.startswith("linux") or os.sysconf("SC_PAGE_SIZE") != _PAGE_BYTES:
            return
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        try:
            self._maps = os.open("/proc/self/maps", os.O_RDONLY)
            self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
            self._ring = self._syscall(_IO_URING_SETUP, 1, _PARAMETERS)
        except OSError:
            pass
        if self._ring < 0:
            self.close()

    def prepare(self) -> bool:
        """Find this process's private memory. Return whether it can be pinned."""
        if self._ring < 0:
            return False
        text = bytearray()
        while part := os.read(self._maps, _READ_BYTES):
            text += part
        self._maps = _closed(self._maps)
        for line in text.decode("utf-8", "replace").splitlines():
            span, access = line.split(None, 2)[:2]
            first, end = (int(address, 16) // _PAGE_BYTES for address in span.split("-"))
            if access == "rw-p" and end - first <= _MAX_AREA_PAGES:
                self._areas.append((first, end))
        return True

    def pin_copied(self) -> None:
        """Pin the pages that the process forked since `prepare` has copied for itself."""
        # Read all of it first: the following code creates pages that no worker needs.
        entries = [os.pread(self._pagemap, 8 * (end - first), 8 * first) for first, end in self._areas]
        self._pagemap = _closed(self._pagemap)
        pages = []
        for (first, _), packed in zip(self._areas, entries, strict=True):
            for index, (entry,) in enumerate(_ENTRY.iter_unpack(packed)):
                if entry & _PRESENT and entry & _EXCLUSIVE and not entry & _FILE_OR_SHARED:
                    pages.append(first + index)
        ranges = _ranges(pages[:_MAX_PAGES])
        buffers = b"".join(struct.pack("@PN", *item) for item in ranges[:_MAX_BUFFERS])
        count = min(len(ranges), _MAX_BUFFERS)
        self.pinned = self._syscall(_IO_URING_REGISTER, self._ring, REGISTER_BUFFERS, buffers, count) == 0

    def close(self) -> None:
        """Close all files: pinning has ended, or this process is a fork.

        The pages stay pinned in the process that has the ring open.
        """
        self._ring, self._maps, self._pagemap = map(_closed, (self._ring, self._maps, self._pagemap))


def _closed(fd: int) -> int:
    """Close a descriptor if it is open. Return -1, the value for none."""
    if fd >= 0:
        os.close(fd)
    return -1


def _ranges(pages: list[int]) -> list[tuple[int, int]]:
    """Return pages, in order of their numbers, as ranges of addresses: start, length."""
    found: list[tuple[int, int]] = []
    for page in pages:
        start = page * _PAGE_BYTES
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + _PAGE_BYTES)
        else:
            found.append((start, _PAGE_BYTES))
    return found
