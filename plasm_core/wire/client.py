"""The client's side of one conversation: bytes in, events out; what it says, as bytes.

The node is a stranger: what it may send, when, and how much, is checked here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from plasm_core.errors import ProtocolError
from plasm_core.wire.frames import OUTPUTS, UPLOADS, Channel, Data, FrameReader, control_frame
from plasm_core.wire.messages import (
    FROM_NODE,
    NOTHING,
    Accepted,
    AskCapabilities,
    Attach,
    Attached,
    Capabilities,
    Credit,
    Error,
    Heartbeat,
    Hello,
    Message,
    Offered,
    Outputs,
    Possessed,
    Possession,
    Progress,
    Question,
    Refused,
    Result,
    State,
    Status,
    StatusIs,
    Submit,
    withdraws_output,
)
from plasm_core.wire.windows import ReceiveWindow, SendWindow


class Phase(enum.Enum):
    """Where a conversation stands, and so whose turn it is."""

    GREETING = "the node is to introduce itself"
    OPENING = "the client is to say what it wants"
    ASKING = "the node is to answer"
    UPLOADING = "the client is to upload"
    FOLLOWING = "the node is to tell of the job"
    OVER = "all is said"


_LEAST_CREDIT_BYTES = 1024
_ANSWERS: dict[type[Message], tuple[type[Message], ...]] = {
    Submit: (Offered, Attached),
    Attach: (Attached,),
    AskCapabilities: (Capabilities,),
}


class ClientConversation:
    """What this client and one node say to each other on one stream.

    `receive` yields the node's messages, and `Data` of its outputs, but no heartbeats and no credit: after
    each call, `room` tells what may be uploaded. Bytes of an output that a repeated attempt brings again come
    again, from offset 0, behind the `State` that says so.
    """

    def __init__(self) -> None:
        self.phase = Phase.GREETING
        self.attempt = 0
        self._reader = FrameReader(FROM_NODE)
        self._asked: Message | None = None
        self._uploads: dict[Channel, SendWindow] = {}
        self._sizes: dict[Channel, int] = {}
        self._outputs: dict[Channel, ReceiveWindow] = {}
        self._credit: Outputs = NOTHING
        self._proving = False
        self.talk = 0
        """How many messages the node has sent that may be repeated without end and say little."""

    def receive(self, data: bytes) -> Iterator[Message | Data]:
        """Take bytes of the node and yield what it said. Raises: `ProtocolError`."""
        for frame in self._reader.feed(data):
            if isinstance(frame, (Heartbeat, Progress, State)):
                self.talk += 1
            if isinstance(frame, Heartbeat):
                continue
            if isinstance(frame, Data):
                self._take(frame)
            elif isinstance(frame, Credit):
                self._grow(frame)
                continue
            else:
                self._check(frame)
            yield frame

    def end(self) -> None:
        """Say that the node has ended its side. Raises: `ProtocolError` in the midst of a frame."""
        if not self._reader.is_between_frames:
            raise ProtocolError("the stream ended within a frame")

    def _check(self, message: Message) -> None:
        if isinstance(message, Error):
            self.phase = Phase.OVER
        elif self.phase is Phase.GREETING and isinstance(message, Hello):
            self.phase = Phase.OPENING if self._asked is None else Phase.ASKING
        elif self.phase is Phase.ASKING:
            self._answer(message)
        elif self.phase is Phase.UPLOADING:
            self._uploading(message)
        elif self.phase is Phase.FOLLOWING and isinstance(message, State):
            if message.status.attempt < self.attempt:
                raise ProtocolError("the number of attempts fell")
            if message.status.attempt > self.attempt:
                self._follow(NOTHING, message.status)
        elif self.phase is Phase.FOLLOWING and isinstance(message, Result):
            self._finish(message.status)
        else:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")

    def _answer(self, message: Message) -> None:
        asked = self._asked
        assert asked is not None
        if isinstance(message, Refused):
            self.phase = Phase.OVER
            return
        expected = (StatusIs,) if isinstance(asked, Question) else _ANSWERS[type(asked)]
        if not isinstance(message, expected):
            raise ProtocolError(f"{asked.type} was answered by {message.type}")
        if isinstance(message, Offered):
            self._start_upload(message)
        elif isinstance(message, Attached):
            known = isinstance(asked, Attach) and asked.attempt == message.status.attempt
            self._follow(asked.offsets if known and isinstance(asked, Attach) else NOTHING, message.status)
        else:
            self.phase = Phase.OVER

    def _start_upload(self, offered: Offered) -> None:
        for channel in UPLOADS:
            received = getattr(offered.received, channel.label)
            if received > self._sizes[channel]:
                raise ProtocolError(
                    f"{received} bytes of {channel.label} received, of {self._sizes[channel]}"
                )
            self._uploads[channel] = SendWindow(channel, received, getattr(offered.credit, channel.label))
        self.phase = Phase.UPLOADING

    def _uploading(self, message: Message) -> None:
        if isinstance(message, Refused):
            self.phase = Phase.OVER
        elif isinstance(message, Possessed) and self._proving:
            self._proving = False
            if message.known:
                self._uploads[Channel.MODULE].position = self._sizes[Channel.MODULE]
        elif isinstance(message, (Progress, Accepted, Attached)) and self.is_uploaded:
            if not isinstance(message, Progress):
                self._follow(NOTHING, message.status)
        else:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")

    def _follow(self, offsets: Outputs, status: Status) -> None:
        self.phase = Phase.FOLLOWING
        self.attempt = status.attempt
        for channel in OUTPUTS:
            label = channel.label
            self._outputs[channel] = ReceiveWindow(
                channel, getattr(offsets, label), max(getattr(self._credit, label), getattr(offsets, label))
            )

    def _finish(self, status: Status) -> None:
        if not status.has_ended:
            raise ProtocolError(f"a result in state {status.state}")
        if status.attempt != self.attempt:
            raise ProtocolError("a result of another attempt")
        if withdraws_output(status):
            self.phase = Phase.OVER
            return
        for channel, size in ((Channel.STDOUT, status.stdout_bytes), (Channel.STDERR, status.stderr_bytes)):
            if self._outputs[channel].position != size:
                raise ProtocolError(
                    f"a result after {self._outputs[channel].position} of {size} bytes of {channel.label}"
                )
        self.phase = Phase.OVER

    def _take(self, data: Data) -> None:
        window = self._outputs.get(data.channel)
        if self.phase is not Phase.FOLLOWING or window is None:
            raise ProtocolError(f"bytes of {data.channel.label} have no place where {self.phase.value}")
        window.take(data)

    def _grow(self, credit: Credit) -> None:
        window = next((item for item in self._uploads.values() if item.channel.label == credit.channel), None)
        if window is None:
            raise ProtocolError(f"credit for {credit.channel} has no place where {self.phase.value}")
        before, size = window.credit, self._sizes[window.channel]
        window.grow(credit.upto)
        if min(credit.upto, size) - before < min(_LEAST_CREDIT_BYTES, max(1, size - before)):
            self.talk += 1

    @property
    def is_uploaded(self) -> bool:
        """Whether all there is to upload has been sent."""
        return all(window.position == self._sizes[channel] for channel, window in self._uploads.items())

    @property
    def room(self) -> dict[Channel, tuple[int, int]]:
        """For each upload that is not complete: the offset that comes next, and how much may be sent now."""
        if self.phase is not Phase.UPLOADING:
            return {}
        return {
            channel: (window.position, min(window.room, self._sizes[channel] - window.position))
            for channel, window in self._uploads.items()
            if window.position < self._sizes[channel] and not (channel is Channel.MODULE and self._proving)
        }

    def ask(self, message: Message) -> bytes:
        """Say what is wanted: the first message, sent once, before or after the node's hello."""
        if self._asked is not None:
            raise ValueError("one stream is one conversation")
        self._asked = message
        if self.phase is Phase.OPENING:
            self.phase = Phase.ASKING
        if isinstance(message, Submit):
            self._sizes = {channel: getattr(message.sizes, channel.label) for channel in UPLOADS}
            self._credit = message.credit
        elif isinstance(message, Attach):
            self._credit = message.credit
        return control_frame(message)

    def prove(self, proof: str) -> bytes:
        """Prove to have the module, before any of it is sent. Nothing of it may be until the answer came."""
        complete = Channel.MODULE not in self.room
        if self.phase is not Phase.UPLOADING or self._proving or complete:
            raise ValueError(f"not a time to prove anything: {self.phase.value}")
        self._proving = True
        return control_frame(Possession(proof=proof))

    def upload(self, channel: Channel, data: bytes) -> bytes:
        """Send the next bytes of a channel, no more than there is room for."""
        return self._uploads[channel].send(data)

    def credit(self, channel: Channel, window_bytes: int, consumed: int | None = None) -> bytes:
        """Give credit for an output; no bytes if it is too early. See `ReceiveWindow.grant`."""
        upto = self._outputs[channel].grant(window_bytes, consumed)
        if upto is None:
            return b""
        return control_frame(Credit(channel=channel.label, upto=upto, attempt=self.attempt))

    def heartbeat(self) -> bytes:
        """Say that the client is still here."""
        return control_frame(Heartbeat())

    def error(self, code: str, message: str) -> bytes:
        """Say why the client closes."""
        self.phase = Phase.OVER
        return control_frame(Error(code=code, message=message))
