"""Frames: encode and decode the frames that carry messages and data on a stream (docs/protocol.md, "Frames")."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import attrs

from plasm_core.errors import ProtocolError
from plasm_core.protocol.channels import MAX_DATA_BYTES as MAX_DATA_BYTES
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import MAX_CONTROL_BYTES, Message, encode, parse
from plasm_core.records.converter import encode_plain

IDLE_FRAMES = 1000.0
"""Frames that bring nothing, as heartbeats do, that one side takes of the other at once."""
IDLE_FRAMES_PER_S = 20.0
"""How many more each second allows. Bytes that were sent allow for the credit that answers them."""

_CONTROL, _DATA = 0, 1
_LENGTH = struct.Struct(">I")
_DATA_HEADER = struct.Struct(">BBQ")
_LIMITS = {_CONTROL: 1 + MAX_CONTROL_BYTES, _DATA: _DATA_HEADER.size + MAX_DATA_BYTES}


@attrs.frozen
class Data:
    """Bytes of a channel, with the offset at which they begin."""

    channel: Channel
    offset: int
    data: bytes


def control_frame(message: Message) -> bytes:
    """Encode a message. Raises: ValueError if it is too large to be sent."""
    body = encode_plain(encode(message))
    if len(body) > MAX_CONTROL_BYTES:
        raise ValueError(f"a message of {len(body)} bytes cannot be sent")
    return _LENGTH.pack(1 + len(body)) + bytes([_CONTROL]) + body


def data_frame(channel: Channel, offset: int, data: bytes) -> bytes:
    """Encode 1 to `MAX_DATA_BYTES` bytes of a channel."""
    if not 1 <= len(data) <= MAX_DATA_BYTES:
        raise ValueError(f"{len(data)} bytes are no data frame")
    return data_frames(channel, offset, data)


def data_frames(channel: Channel, offset: int, data: bytes) -> bytes:
    """Encode bytes of a channel in as few frames as they need: all but the last have `MAX_DATA_BYTES`."""
    view = memoryview(data)
    parts: list[bytes | memoryview] = []
    for start in range(0, len(data), MAX_DATA_BYTES):
        part = view[start : start + MAX_DATA_BYTES]
        parts += (
            _LENGTH.pack(_DATA_HEADER.size + len(part)),
            _DATA_HEADER.pack(_DATA, channel, offset + start),
            part,
        )
    return b"".join(parts)


class FrameReader:
    """Splits a stream into frames. It holds at most one incomplete frame and the bytes that it was last given."""

    def __init__(self, messages: dict[str, type[Message]]) -> None:
        """`messages` are those that the other side may send, by type."""
        self._messages = messages
        self._buffer = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """Whether no frame is incomplete, so that the stream may end here."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[Message | Data]:
        """Take bytes and yield the frames that are complete. Raises: `ProtocolError`."""
        self._buffer += data
        start = 0
        try:
            while True:
                end = self._end(start)
                if end is None or end > len(self._buffer):
                    return
                # A slice of the buffer itself would be copied twice. While a view is open, the buffer cannot shrink.
                with memoryview(self._buffer) as view, view[start + _LENGTH.size : end] as body:
                    frame = self._decode(body)
                start = end
                yield frame
        finally:
            del self._buffer[:start]

    def _end(self, start: int) -> int | None:
        """Return where the frame at `start` ends, if its header is there. Refuses it if it is too long."""
        header = self._buffer[start : start + _LENGTH.size + 1]
        if len(header) < _LENGTH.size:
            return None
        length: int = _LENGTH.unpack_from(header)[0]
        if length == 0:
            raise ProtocolError("a frame without a type")
        if len(header) == _LENGTH.size:
            return None
        limit = _LIMITS.get(header[_LENGTH.size])
        if limit is None:
            raise ProtocolError(f"there is no frame of type {header[_LENGTH.size]}")
        if length > limit:
            raise ProtocolError(f"a frame of {length} bytes, more than the {limit} allowed")
        return start + _LENGTH.size + length

    def _decode(self, frame: memoryview) -> Message | Data:
        if frame[0] == _CONTROL:
            return parse(bytes(frame[1:]), self._messages)
        if len(frame) <= _DATA_HEADER.size:
            raise ProtocolError("a data frame without bytes")
        _, channel, offset = _DATA_HEADER.unpack_from(frame)
        try:
            return Data(Channel(channel), offset, bytes(frame[_DATA_HEADER.size :]))
        except ValueError:
            raise ProtocolError(f"there is no channel {channel}") from None
