"""What the host knows of one job: its strings, its standard input, its clock and its random numbers."""

from __future__ import annotations

import struct

from plasm_core.sandbox.wasi.machine import RealClock, RealRandom, SeededRandom, VirtualClock

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Stdin(Protocol):
        """Where standard input comes from."""

        def read(self, count: int) -> bytes:
            """Return the next bytes: at least one, at most `count`. Called only while some are left."""

        def remaining(self) -> int:
            """Return how many bytes are left."""


class Strings:
    """Arguments or environment in the layout of guest memory, joined once for all calls.

    The gas for asking for their sizes does not depend on their number, so the time must not either.
    """

    def __init__(self, strings: list[bytes]) -> None:
        self.count = len(strings)
        self.joined = b"\0".join([*strings, b""])
        self._lengths = list(map(len, strings))
        self._offsets = -1
        self._ones = 0

    def pointers(self, buffer: int) -> bytes:
        """Return the addresses of all strings if the first is at `buffer`. They must fit below 4 GiB."""
        if self._offsets < 0:
            offsets, offset = [], 0
            for length in self._lengths:
                offsets.append(offset)
                offset += length + 1
            # The offsets as one number, and a number that adds 1 to each: one multiplication moves all of them.
            self._offsets = int.from_bytes(struct.pack(f"<{self.count}I", *offsets), "little")
            self._ones = int.from_bytes(b"\1\0\0\0" * self.count, "little")
        return (self._offsets + buffer * self._ones).to_bytes(4 * self.count, "little")


class HostJob:
    """One job's inputs in a worker.

    `output(stream, data)` receives the guest's output, stream 1 or 2. Arguments and environment strings contain no
    NUL. `seed` has 32 bytes.
    """

    def __init__(
        self,
        *,
        args: list[bytes],
        env: list[bytes],
        stdin: Stdin,
        seed: bytes,
        output_bytes: int,
        real_clock: bool = False,
        real_random: bool = False,
        output: Callable[[int, bytes], None],
    ) -> None:
        self.args = Strings([b"main", *args])
        self.env = Strings(env)
        self.stdin = stdin
        self.output = output
        self.left = {1: output_bytes, 2: output_bytes}
        self.clock = RealClock() if real_clock else VirtualClock()
        self.random = RealRandom() if real_random else SeededRandom(seed)
