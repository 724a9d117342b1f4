"""The gas that a guest had left at its last host call, in memory that the node shares with the worker.

The gas counter itself is in the worker's memory, where only the engine finds it, and a worker that is killed reports
nothing. So the WASI host notes what is left with each host call. What the guest used after its last one is not known:
the note says how much it used at least. A worker may be taken over by its guest, and then the note says anything; it
goes into claims only.
"""

from __future__ import annotations

import os
import struct

from plasm_core.sandbox.process.sealed_memory import keep_size, open_blob

_LEFT = struct.Struct("<q")
UNKNOWN = -1


class GasNote:
    """The node's side of the note of one worker."""

    def __init__(self) -> None:
        """Make it. Raises: OSError, `StorageError`."""
        self.fd = open_blob("plasm-gas")
        self.clear()
        keep_size(self.fd)

    def clear(self) -> None:
        """Forget what another job noted."""
        os.pwrite(self.fd, _LEFT.pack(UNKNOWN), 0)

    def used(self, limit: int) -> int:
        """Return the gas that was used at least, 0 to the limit; 0 if nothing was noted."""
        noted = os.pread(self.fd, _LEFT.size, 0)
        if len(noted) < _LEFT.size:  # cut off by the guest
            return 0
        (left,) = _LEFT.unpack(noted)
        return limit - left if 0 <= left <= limit else 0

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
