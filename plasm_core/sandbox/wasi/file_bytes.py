"""The bytes of a file that a job has written, in pieces: they take what the file has, and hardly more.

One array for a file would keep the room of what was cut off, up to as much as the file has, and take the room of the
old array beside the new one where it grows. The node counts neither (`FileLimits.memory_bytes`).
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 1 << 18


class FileBytes:
    """Bytes that are read, written and cut at any place. `size` is how many there are."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytearray] = []  # all but the last one are whole
        self.size = 0

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes that are there."""
        return b"".join([bytes(self._pieces[index][at:end]) for index, at, end in _parts(offset, count)])

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes in place of those that are there."""
        done = 0
        for index, at, end in _parts(offset, len(data)):
            self._pieces[index][at:end] = data[done : done + end - at]
            done += end - at

    def resize(self, size: int) -> None:
        """Cut bytes off the end, or add zeros there."""
        pieces = self._pieces
        if size < self.size:
            del pieces[-(-size // _PIECE_BYTES) :]
            kept = size - (len(pieces) - 1) * _PIECE_BYTES
            if pieces and kept < len(pieces[-1]):
                pieces[-1] = pieces[-1][:kept]  # a copy: deleting from it would keep its room
        else:
            for index, at, end in _parts(self.size, size - self.size):
                if index == len(pieces):
                    pieces.append(bytearray(end - at))
                else:
                    pieces[index].extend(bytes(end - at))
        self.size = size


def _parts(offset: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Return where some bytes are: each piece by its index, with the offsets in it of the first and behind the last."""
    end = offset + count
    while offset < end:
        index, at = divmod(offset, _PIECE_BYTES)
        size = min(_PIECE_BYTES - at, end - offset)
        yield index, at, at + size
        offset += size
