"""Offsets and credit of one channel, as its sender and as its receiver sees them."""

from __future__ import annotations

import attrs

from plasm_core.errors import ProtocolError
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.frames import MAX_DATA_BYTES, Data, data_frames


@attrs.define
class SendWindow:
    """A channel that this side sends: its offset, and the offset up to which the receiver has room."""

    channel: Channel
    position: int = 0
    credit: int = 0

    @property
    def room(self) -> int:
        """How many bytes may be sent now, in one frame."""
        return min(MAX_DATA_BYTES, self.open)

    @property
    def open(self) -> int:
        """How many bytes may be sent now, in any number of frames."""
        return max(0, self.credit - self.position)

    def grow(self, upto: int) -> None:
        """Record new credit. Raises: `ProtocolError` if it is less than the credit before."""
        if upto < self.credit:
            raise ProtocolError(f"credit for {self.channel.label} fell from {self.credit} to {upto}")
        self.credit = upto

    def send(self, data: bytes) -> bytes:
        """Return frames with the channel's next bytes. Raises: ValueError if they exceed the credit."""
        if not 1 <= len(data) <= self.open:
            raise ValueError(f"{len(data)} bytes of {self.channel.label}, with room for {self.open}")
        frames = data_frames(self.channel, self.position, data)
        self.position += len(data)
        return frames


@attrs.define
class ReceiveWindow:
    """A channel that this side receives. `size`: its total length in bytes, None if not known."""

    channel: Channel
    position: int = 0
    credit: int = 0
    size: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all its bytes have come."""
        return self.position == self.size

    def take(self, data: Data) -> None:
        """Count received bytes. Raises: `ProtocolError` for a gap, or more bytes than the credit."""
        end = data.offset + len(data.data)
        label = self.channel.label
        if data.offset != self.position:
            raise ProtocolError(f"{label} at offset {data.offset}, where {self.position} comes next")
        if self.size is not None and end > self.size:
            raise ProtocolError(f"{end} bytes of {label}, which has {self.size}")
        if end > self.credit:
            raise ProtocolError(f"{end} bytes of {label}, with credit up to {self.credit}")
        self.position = end

    def grant(self, window_bytes: int, consumed: int | None = None) -> int | None:
        """Return the offset to give as credit, or None while more than half of the window is open.

        `consumed`: the offset up to which the receiver has processed the bytes; by default all that arrived.
        """
        upto = (self.position if consumed is None else consumed) + window_bytes
        if self.size is not None:
            upto = min(upto, self.size)
        if upto <= self.credit or (upto - self.credit < window_bytes // 2 and upto != self.size):
            return None
        self.credit = upto
        return upto
