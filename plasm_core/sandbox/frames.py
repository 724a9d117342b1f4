"""What passes between the daemon and a worker over their socket: u8 kind ‖ u32le length ‖ body.

To the worker: one JOB. From the worker: STDOUT and STDERR as they come, one OUTCOME last. Both sides are our
code, but a worker may be taken over by its guest: the daemon trusts no length and no number it reads.
"""

from __future__ import annotations

import struct

JOB, STDOUT, STDERR, OUTCOME = range(4)

MAX_FRAME_BYTES = 64 << 20
MAX_OUTPUT_FRAME_BYTES = 1 << 20
MAX_OUTCOME_BYTES = 4_096

_HEADER = struct.Struct("<BI")
HEADER_BYTES = _HEADER.size


def frame(kind: int, body: bytes) -> bytes:
    """Encode a frame."""
    return _HEADER.pack(kind, len(body)) + body


def parse_header(data: bytes) -> tuple[int, int]:
    """Return a header's kind and length."""
    kind, length = _HEADER.unpack(data)
    return int(kind), int(length)


class WorkerFrames:
    """Takes a worker's bytes, gives its frames. Raises ValueError on what no honest worker sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes, return the frames that are whole by now."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER_BYTES:
            kind, length = parse_header(bytes(self._buffer[:HEADER_BYTES]))
            if kind in (STDOUT, STDERR):
                maximum = MAX_OUTPUT_FRAME_BYTES
            elif kind == OUTCOME:
                maximum = MAX_OUTCOME_BYTES
            else:
                raise ValueError(f"a frame of kind {kind}")
            if length > maximum:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) < HEADER_BYTES + length:
                break
            frames.append((kind, bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])))
            del self._buffer[: HEADER_BYTES + length]
        return frames
