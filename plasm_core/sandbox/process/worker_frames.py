"""The frames between the daemon and a worker over their socket: u8 kind ‖ u32le length ‖ body.

To the worker: one JOB. From the worker: STDOUT and STDERR when the guest writes; of a job with files, an ENTRY for
each output file and directory, with DATA after each file's; one OUTCOME last. Both sides are our code, but a worker
may be taken over by its guest: the daemon trusts no length and no number it reads. A worker's jobs are numbered, so
that a late frame of one job is not taken for the next one's. Bodies are packed, not JSON: a JSON parser would touch,
and thereby copy, a hundred memory pages in every worker.
"""

from __future__ import annotations

import struct

JOB, STDOUT, STDERR, OUTCOME, ENTRY, DATA = range(6)

MAX_FRAME_BYTES = 64 << 20
MAX_OUTPUT_FRAME_BYTES = 1 << 20
MAX_OUTCOME_BYTES = 4_096
MAX_ENTRY_BYTES = 2_048

_HEADER = struct.Struct("<BI")
HEADER_BYTES = _HEADER.size

# its number, gas, memory, output, stdin bytes, cpu seconds, flags, seed, count of args and of env; then
# u32le length ‖ bytes of each
_JOB = struct.Struct("<IQQQQIB32sII")
CLOCK_REAL, RANDOM_REAL, HAS_START, HAS_STDIN, HAS_FILES, HAS_ENTRY = 1, 2, 4, 8, 16, 32

# of a job with files: bytes of its listing, the three limits, count of read-only paths and of outputs; then
# u32le length ‖ bytes of each
_FILES = struct.Struct("<QQIIII")

# position of the output, kind, size; then the path in the output
_ENTRY = struct.Struct("<IBQ")

# the job's number, position in OUTCOMES, exit code, position in TRAP_KINDS, gas used, microseconds of processor
# time, peak memory; then the detail
_OUTCOME = struct.Struct("<IBIBQQQ")
OUTCOMES = ("exited", "trapped", "out_of_gas", "output_limit", "system_error")


def frame(kind: int, body: bytes) -> bytes:
    """Encode a frame: its kind, its length and its body."""
    return _HEADER.pack(kind, len(body)) + body


def parse_header(data: bytes) -> tuple[int, int]:
    """Return a header's kind and length."""
    kind, length = _HEADER.unpack(data)
    return int(kind), int(length)


def pack_job(
    *,
    gas: int,
    memory_bytes: int,
    output_bytes: int,
    stdin_bytes: int,
    cpu_s: int,
    flags: int,
    seed: bytes,
    args: tuple[bytes, ...],
    env: tuple[bytes, ...],
    files: bytes = b"",
    number: int = 0,
) -> bytes:
    """Encode a JOB's body. `files`: as `pack_files` gives it. `number`: how many its worker has served before."""
    numbers = (gas, memory_bytes, output_bytes, stdin_bytes, cpu_s, flags)
    head = _JOB.pack(number, *numbers, seed, len(args), len(env))
    return head + _packed(*args, *env) + files


def _packed(*items: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def pack_files(
    *,
    listing_bytes: int,
    data_bytes: int,
    entries: int,
    descriptors: int,
    read_only: list[bytes],
    outputs: list[bytes],
) -> bytes:
    """Encode the files part of a JOB's body. The pack is passed separately, as a descriptor."""
    head = _FILES.pack(listing_bytes, data_bytes, entries, descriptors, len(read_only), len(outputs))
    return head + _packed(*read_only, *outputs)


def pack_entry(position: int, kind: int, size: int, path: bytes) -> bytes:
    """Encode an ENTRY's body."""
    return _ENTRY.pack(position, kind, size) + path


def unpack_entry(body: bytes) -> tuple[int, int, int, bytes]:
    """Decode an ENTRY: position of the output, kind, size, path. Raises: ValueError."""
    if len(body) < _ENTRY.size:
        raise ValueError("an entry cut short")
    position, kind, size = _ENTRY.unpack_from(body)
    return position, kind, size, body[_ENTRY.size :]


class WorkerFiles:
    """The files part of a JOB, parsed in the worker."""

    def __init__(self, body: bytes, offset: int) -> None:
        self.listing_bytes, self.data_bytes, self.entries, self.descriptors, *counts = _FILES.unpack_from(
            body, offset
        )
        self.read_only: list[bytes] = []
        self.outputs: list[bytes] = []
        offset += _FILES.size
        for items, count in ((self.read_only, counts[0]), (self.outputs, counts[1])):
            offset = _unpack(body, offset, count, items)


def _unpack(body: bytes, offset: int, count: int, items: list[bytes]) -> int:
    """Read items. Return the offset behind them."""
    for _ in range(count):
        (length,) = struct.unpack_from("<I", body, offset)
        offset += 4
        items.append(body[offset : offset + length])
        offset += length
    return offset


class WorkerJob:
    """A decoded JOB."""

    def __init__(self, body: bytes) -> None:
        fields = _JOB.unpack_from(body)
        self.number, self.gas, self.memory_bytes, self.output_bytes, self.stdin_bytes = fields[:5]
        self.cpu_s, self.flags, self.seed = fields[5:8]
        self.args: list[bytes] = []
        self.env: list[bytes] = []
        offset = _JOB.size
        for items, count in ((self.args, fields[8]), (self.env, fields[9])):
            offset = _unpack(body, offset, count, items)
        self.files = WorkerFiles(body, offset) if self.flags & HAS_FILES else None


def pack_outcome(
    kind: str,
    *,
    code: int = 0,
    trap: int = 0,
    gas_used: int,
    cpu_us: int,
    peak_memory: int,
    detail: str = "",
    number: int = 0,
) -> bytes:
    """Encode an OUTCOME's body. `trap`: an index into `TRAP_KINDS`. `detail`: only for system_error."""
    head = _OUTCOME.pack(number, OUTCOMES.index(kind), code, trap, gas_used, cpu_us, peak_memory)
    return head + detail.encode("utf-8", "replace")[:1_000]


def is_failure(body: bytes) -> bool:
    """Return whether an OUTCOME says that the node failed, not the job: it leaves nothing then."""
    return OUTCOMES[_OUTCOME.unpack_from(body)[1]] == "system_error"


def unpack_outcome(body: bytes, number: int = 0) -> tuple[str, int, int, int, int, int, str]:
    """Decode an OUTCOME: kind, code, trap, gas used, processor time in µs, peak memory, detail. Raises: ValueError."""
    if len(body) < _OUTCOME.size:
        raise ValueError("an outcome cut short")
    found, kind, code, trap, gas_used, cpu_us, peak = _OUTCOME.unpack_from(body)
    if found != number:
        raise ValueError("an outcome of another job")
    if kind >= len(OUTCOMES):
        raise ValueError("an unknown outcome")
    return (
        OUTCOMES[kind],
        code,
        trap,
        gas_used,
        cpu_us,
        peak,
        body[_OUTCOME.size :].decode("utf-8", "replace"),
    )


class WorkerFrames:
    """Splits a worker's bytes into frames. Raises ValueError for bytes that no honest worker sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Add bytes, and return the frames that are complete."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= HEADER_BYTES:
            kind, length = parse_header(bytes(self._buffer[:HEADER_BYTES]))
            if kind in (STDOUT, STDERR):
                maximum = MAX_OUTPUT_FRAME_BYTES
            elif kind == OUTCOME:
                maximum = MAX_OUTCOME_BYTES
            elif kind == ENTRY:
                maximum = MAX_ENTRY_BYTES
            elif kind == DATA:
                maximum = MAX_OUTPUT_FRAME_BYTES
            else:
                raise ValueError(f"a frame of kind {kind}")
            if length > maximum:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) < HEADER_BYTES + length:
                break
            frames.append((kind, bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])))
            del self._buffer[: HEADER_BYTES + length]
        return frames
