"""The client's side of one conversation, without I/O: received bytes become events, its messages become bytes.

The node is not trusted: this module checks which messages it may send, when, and how many bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import attrs

from plasm_core.errors import ProtocolError
from plasm_core.protocol.channels import OUTPUTS, PROVABLE, Channel
from plasm_core.protocol.flow_control import ReceiveWindow, SendWindow
from plasm_core.protocol.frames import Data, FrameReader, control_frame
from plasm_core.protocol.messages import (
    FROM_NODE,
    NOTHING,
    Accepted,
    AskCapabilities,
    Attach,
    Attached,
    Capabilities,
    Credit,
    Error,
    Fetch,
    Heartbeat,
    Hello,
    Message,
    Offered,
    Opening,
    OutputContents,
    Outputs,
    Possessed,
    Possession,
    Progress,
    Question,
    Refused,
    Result,
    SealedMemory,
    State,
    Status,
    StatusIs,
    Submit,
    Uploads,
    withdraws_output,
)


class ClientPhase(enum.Enum):
    """The state of a conversation, which determines the messages that may follow."""

    GREETING = "the node is to introduce itself"
    OPENING = "the client is to say what it wants"
    ASKING = "the node is to answer"
    UPLOADING = "the client is to upload"
    FOLLOWING = "the node is to tell of the job"
    FETCHING = "the node is to send what was fetched"
    OVER = "all is said"


_LEAST_CREDIT_BYTES = 1024
_ANSWERS: dict[type[Message], tuple[type[Message], ...]] = {
    Submit: (Offered, Attached),
    Attach: (Attached,),
    AskCapabilities: (Capabilities,),
    Fetch: (OutputContents,),
}


class ClientConversation:
    """The client's side of the job protocol on one stream, without I/O.

    `receive` yields the node's messages, `Data` of its outputs, and None for each heartbeat and credit, so that the
    caller can yield to other tasks between frames. `room` then has the bytes that may be uploaded on each channel. A
    repeated attempt sends its outputs from offset 0, after the `State` that announces the attempt.
    """

    def __init__(self, *, keep_s: int | None = None, features: tuple[str, ...] = ()) -> None:
        """`keep_s`, `features`: from the node's `hello`, if this is not the first conversation on the stream."""
        self.phase = ClientPhase.GREETING if keep_s is None else ClientPhase.OPENING
        self.attempt = 0
        self.is_kept = False
        """Whether all is said, and another conversation may begin on the stream."""
        self.keep_s = keep_s
        """For how many seconds the node leaves streams open for another conversation; None if it closes them."""
        self.features = features
        """What the node's hello says that it can do."""
        self._reader = FrameReader(FROM_NODE)
        self._asked: Message | None = None
        self._uploads: dict[Channel, SendWindow] = {}
        self._sizes = Uploads(module=0, args=0, env=0, stdin=0)
        self._outputs: dict[Channel, ReceiveWindow] = {}
        self._credit: Outputs = NOTHING
        self._proving: set[Channel] = set()
        self.talk = 0
        """How many messages the node has sent that may be repeated without end and say little."""

    def receive(self, data: bytes) -> Iterator[Message | Data | None]:
        """Process bytes from the node, and yield its messages and data. Raises: `ProtocolError`.

        A frame that leaves the caller nothing to do, such as a heartbeat, yields None.
        """
        for frame in self._reader.feed(data):
            if isinstance(frame, (Heartbeat, Progress, State)):
                self.talk += 1
            if isinstance(frame, Heartbeat):
                yield None
            elif isinstance(frame, Credit):
                self._grow(frame)
                yield None
            elif isinstance(frame, Data):
                self._take(frame)
                yield frame
            else:
                self._check(frame)
                yield frame

    def end(self) -> None:
        """Process the end of the node's stream. Raises: `ProtocolError` in the middle of a frame."""
        if not self._reader.is_between_frames:
            raise ProtocolError("the stream ended within a frame")

    @property
    def is_between_frames(self) -> bool:
        """Whether the received bytes end at a frame boundary, so that the stream may end."""
        return self._reader.is_between_frames

    def _end(self) -> None:
        """Note the node's last message."""
        self.phase = ClientPhase.OVER
        self.is_kept = isinstance(self._asked, Opening) and self._asked.keep is True

    def _check(self, message: Message) -> None:
        if isinstance(message, Error):
            self.phase = ClientPhase.OVER
        elif self.phase is ClientPhase.GREETING and isinstance(message, Hello):
            self.keep_s, self.features = message.keep_s, message.features or ()
            self.phase = ClientPhase.OPENING if self._asked is None else ClientPhase.ASKING
        elif self.phase is ClientPhase.ASKING:
            self._answer(message)
        elif self.phase is ClientPhase.UPLOADING:
            self._uploading(message)
        elif self.phase is ClientPhase.FOLLOWING and isinstance(message, State):
            if message.status.attempt < self.attempt:
                raise ProtocolError("the number of attempts fell")
            if message.status.attempt > self.attempt:
                self._follow(NOTHING, message.status)
        elif self.phase is ClientPhase.FOLLOWING and isinstance(message, Result):
            self._finish(message.status)
        else:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")

    def _answer(self, message: Message) -> None:
        asked = self._asked
        assert asked is not None
        if isinstance(message, Refused):
            self.phase = ClientPhase.OVER
            return
        expected = (StatusIs,) if isinstance(asked, Question) else _ANSWERS[type(asked)]
        if not isinstance(message, expected):
            raise ProtocolError(f"{asked.type} was answered by {message.type}")
        if isinstance(message, Offered):
            self._start_upload(message)
        elif isinstance(message, OutputContents):
            self._start_fetch(message)
        elif isinstance(message, Attached):
            known = isinstance(asked, Attach) and asked.attempt == message.status.attempt
            self._follow(asked.offsets if known and isinstance(asked, Attach) else NOTHING, message.status)
        else:
            self._end()

    def _start_upload(self, offered: Offered) -> None:
        for channel in self._sizes.channels:
            received = offered.received.of(channel)
            if received > self._sizes.of(channel):
                raise ProtocolError(
                    f"{received} bytes of {channel.label} received, of {self._sizes.of(channel)}"
                )
            self._uploads[channel] = SendWindow(channel, received, offered.credit.of(channel))
        self.phase = ClientPhase.UPLOADING

    def _uploading(self, message: Message) -> None:
        if isinstance(message, Refused):
            self.phase = ClientPhase.OVER
        elif isinstance(message, Possessed) and (channel := message.about) in self._proving:
            self._proving.discard(channel)
            if message.known:
                self._uploads[channel].position = self._sizes.of(channel)
        elif isinstance(message, (Progress, Accepted, Attached)) and self.is_uploaded:
            if not isinstance(message, Progress):
                self._follow(NOTHING, message.status)
        else:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")

    def _start_fetch(self, contents: OutputContents) -> None:
        asked = self._asked
        assert isinstance(asked, Fetch)
        if contents.kind == "none" and contents.size:
            raise ProtocolError(f"{contents.size} bytes of a missing output")
        end = max(asked.offset, min(asked.offset + asked.length, contents.size))
        window = ReceiveWindow(Channel.CONTENTS, asked.offset, max(asked.credit, asked.offset), size=end)
        self._outputs = {Channel.CONTENTS: window}
        self.phase = ClientPhase.FETCHING
        if window.is_complete:
            self._end()

    def _follow(self, offsets: Outputs, status: Status) -> None:
        self.phase = ClientPhase.FOLLOWING
        self.attempt = status.attempt
        for channel in OUTPUTS:
            self._outputs[channel] = ReceiveWindow(
                channel, offsets.of(channel), max(self._credit.of(channel), offsets.of(channel))
            )
        if isinstance(self._asked, Submit) and self._asked.follow is False:
            self._end()

    def _finish(self, status: Status) -> None:
        if not status.has_ended:
            raise ProtocolError(f"a result in state {status.state}")
        if status.attempt != self.attempt:
            raise ProtocolError("a result of another attempt")
        if withdraws_output(status):
            self._end()
            return
        for channel in OUTPUTS:
            size = status.output_bytes(channel.output)
            if self._outputs[channel].position != size:
                raise ProtocolError(
                    f"a result after {self._outputs[channel].position} of {size} bytes of {channel.label}"
                )
        self._end()

    def _take(self, data: Data) -> None:
        window = self._outputs.get(data.channel)
        if self.phase not in (ClientPhase.FOLLOWING, ClientPhase.FETCHING) or window is None:
            raise ProtocolError(f"bytes of {data.channel.label} have no place where {self.phase.value}")
        window.take(data)
        if self.phase is ClientPhase.FETCHING and window.is_complete:
            self._end()

    def _grow(self, credit: Credit) -> None:
        window = next((item for item in self._uploads.values() if item.channel.label == credit.channel), None)
        if window is None:
            raise ProtocolError(f"credit for {credit.channel} has no place where {self.phase.value}")
        before, size = window.credit, self._sizes.of(window.channel)
        window.grow(credit.upto)
        if min(credit.upto, size) - before < min(_LEAST_CREDIT_BYTES, max(1, size - before)):
            self.talk += 1

    @property
    def is_uploaded(self) -> bool:
        """Whether all uploads have been sent in full."""
        return all(window.position == self._sizes.of(channel) for channel, window in self._uploads.items())

    @property
    def room(self) -> dict[Channel, tuple[int, int]]:
        """For each incomplete upload: the next offset, and how many bytes may be sent now, in any number of frames."""
        if self.phase is not ClientPhase.UPLOADING:
            return {}
        return {
            channel: (window.position, min(window.open, self._sizes.of(channel) - window.position))
            for channel, window in self._uploads.items()
            if window.position < self._sizes.of(channel) and channel not in self._proving
        }

    def ask(self, message: Message) -> bytes:
        """Encode the client's first message: `submit`, `attach` or a question.

        Sent once, before or after the node's `hello`.
        """
        if self._asked is not None:
            raise ValueError("a conversation has one opening message")
        if self.keep_s is not None and isinstance(message, Opening) and message.keep is not True:
            message = attrs.evolve(message, keep=True)
        self._asked = message
        if self.phase is ClientPhase.OPENING:
            self.phase = ClientPhase.ASKING
        if isinstance(message, Submit):
            self._sizes = message.sizes
            self._credit = message.credit
        elif isinstance(message, Attach):
            self._credit = message.credit
        return control_frame(message)

    def prove(self, proof: str, channel: Channel = Channel.MODULE) -> bytes:
        """Encode the proof of having the module, or the files.

        None of the channel's bytes may be sent before the node answers. Raises: ValueError out of turn.
        """
        if self.phase is not ClientPhase.UPLOADING or channel not in PROVABLE or channel not in self.room:
            raise ValueError(f"not a time to prove anything: {self.phase.value}")
        self._proving.add(channel)
        return control_frame(
            Possession(proof=proof, channel=None if channel is Channel.MODULE else channel.label)
        )

    def sealed_memory(self, channel: Channel) -> bytes:
        """Encode that the descriptor passed with the frame has all bytes of a channel.

        None of the channel's bytes may be sent before the node answers. Raises: ValueError out of turn.
        """
        if self.phase is not ClientPhase.UPLOADING or channel not in self.room:
            raise ValueError(f"not a time to pass a descriptor: {self.phase.value}")
        self._proving.add(channel)
        return control_frame(SealedMemory(channel=channel.label))

    def upload(self, channel: Channel, data: bytes) -> bytes:
        """Encode the next bytes of a channel, at most as many as `room` says."""
        return self._uploads[channel].send(data)

    def credit(self, channel: Channel, window_bytes: int, consumed: int | None = None) -> bytes:
        """Encode credit for an output; empty if it is too early. See `ReceiveWindow.grant`."""
        upto = self._outputs[channel].grant(window_bytes, consumed)
        if upto is None:
            return b""
        return control_frame(Credit(channel=channel.label, upto=upto, attempt=self.attempt))

    def heartbeat(self) -> bytes:
        """Return a `heartbeat` frame."""
        return control_frame(Heartbeat())

    def error(self, code: str, message: str) -> bytes:
        """Encode an `error` message, which says why the client closes the stream."""
        self.phase = ClientPhase.OVER
        return control_frame(Error(code=code, message=message))
