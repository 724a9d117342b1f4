"""The node's side of one conversation, without I/O: received bytes become events, its messages become bytes.

It checks which messages may arrive, when, and how many bytes. It decides nothing, waits for nothing and stores
nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from plasm_core.errors import ProtocolError
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.flow_control import ReceiveWindow, SendWindow
from plasm_core.protocol.frames import IDLE_FRAMES, IDLE_FRAMES_PER_S, Data, FrameReader, control_frame
from plasm_core.protocol.messages import (
    FROM_CLIENT,
    NOTHING,
    Accepted,
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
    Possessed,
    Possession,
    Progress,
    Refused,
    Result,
    SealedMemory,
    State,
    Status,
    StatusIs,
    Submit,
    Uploads,
)
from plasm_core.token_bucket import TokenBucket

UPLOAD_WINDOW_BYTES = 1 << 20


class NodePhase(enum.Enum):
    """The state of a conversation, which determines the messages that may follow."""

    OPENING = "the client is to say what it wants"
    DECIDING = "the node is to answer"
    UPLOADING = "the client is to upload"
    ADMITTING = "the node is to accept or refuse"
    FOLLOWING = "the client follows the job"
    FETCHING = "the client takes what it fetches"
    OVER = "all is said"


class NodeConversation:
    """The node's side of the job protocol on one stream, without I/O: one conversation, or several in turn.

    `receive` yields the client's messages, `Data` of its channels, and None for each heartbeat and credit, so that
    the caller can yield to other tasks between frames that arrived together. The methods named like messages return
    the bytes to send. A `ProtocolError` ends the conversation: send `error`, and close.
    """

    def __init__(self) -> None:
        self.phase = NodePhase.OPENING
        self.attempt = 0
        self._reader = FrameReader(FROM_CLIENT)
        self._uploads: dict[Channel, ReceiveWindow] = {}
        self._outputs: dict[Channel, SendWindow] = {}
        self._first = (NOTHING, NOTHING, 0)
        self._challenged: set[Channel] = set()
        self._passed: set[Channel] = set()
        self._fetch: Fetch | None = None
        self._fetch_end = 0
        self._keeps = False
        self._follows = True
        self._idle = TokenBucket(capacity=IDLE_FRAMES, per_s=IDLE_FRAMES_PER_S)

    def receive(self, data: bytes) -> Iterator[Message | Data | None]:
        """Process bytes from the client, and yield its messages and data. Raises: `ProtocolError`.

        A frame that leaves the caller nothing to do, such as a heartbeat, yields None.
        """
        for frame in self._reader.feed(data):
            if isinstance(frame, Data) and self.phase is NodePhase.OVER:
                yield None  # the client sent it before it received the refusal of the rest
            elif isinstance(frame, Data):
                self._take(frame)
                yield frame
            elif isinstance(frame, (Credit, Heartbeat)):
                if not self._idle.spend():
                    raise ProtocolError("heartbeats and credit come faster than anything calls for")
                if isinstance(frame, Credit):
                    self._credit(frame)
                yield None
            else:
                self._check(frame)
                yield frame

    def end(self) -> None:
        """Process the end of the client's stream. Raises: `ProtocolError` in the middle of a frame."""
        if not self._reader.is_between_frames:
            raise ProtocolError("the stream ended within a frame")

    def _check(self, message: Message) -> None:
        if isinstance(message, Error):
            self.phase = NodePhase.OVER
            return
        if isinstance(message, Possession) and self.phase is NodePhase.UPLOADING:
            channel = message.about
            if channel in self._uploads and channel not in self._challenged and not self.is_uploaded:
                self._challenged.add(channel)
                return
        if isinstance(message, SealedMemory) and self.phase is NodePhase.UPLOADING:
            channel = message.about
            if channel in self._uploads and channel not in self._passed and not self.is_received(channel):
                self._passed.add(channel)
                return
        if not isinstance(message, Opening) or self.phase is not NodePhase.OPENING:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")
        self.phase = NodePhase.DECIDING
        self._keeps = message.keep is True
        self._follows = not (isinstance(message, Submit) and message.follow is False)
        self._uploads, self._outputs, self._challenged, self._passed = {}, {}, set(), set()
        self._fetch = message if isinstance(message, Fetch) else None
        self._first = (NOTHING, NOTHING, 0)
        if isinstance(message, Submit):
            self._first = (NOTHING, message.credit, 0)
            sizes = message.sizes
            self._uploads = {item: ReceiveWindow(item, size=sizes.of(item)) for item in sizes.channels}
        elif isinstance(message, Attach):
            self._first = (message.offsets, message.credit, message.attempt)

    def _take(self, data: Data) -> None:
        window = self._uploads.get(data.channel)
        if self.phase is not NodePhase.UPLOADING or window is None:
            raise ProtocolError(f"bytes of {data.channel.label} have no place where {self.phase.value}")
        window.take(data)
        self._challenged.add(data.channel)  # the time for a proof is over
        self._passed.add(data.channel)

    def _credit(self, credit: Credit) -> None:
        window = next((item for item in self._outputs.values() if item.channel.label == credit.channel), None)
        if window is not None and self.phase in (NodePhase.OVER, NodePhase.OPENING):
            return  # the client may not have received the last message yet
        if window is None or self.phase not in (NodePhase.FOLLOWING, NodePhase.FETCHING):
            raise ProtocolError(f"credit for {credit.channel} has no place where {self.phase.value}")
        if credit.attempt == self.attempt or self.phase is NodePhase.FETCHING:
            window.grow(credit.upto)

    @property
    def is_over(self) -> bool:
        """Whether all is said on the stream: no other conversation may follow on it."""
        return self.phase is NodePhase.OVER

    @property
    def follows(self) -> bool:
        """Whether the client that submits follows its job."""
        return self._follows

    def _end(self) -> None:
        """End the conversation, after its last message."""
        self.phase = NodePhase.OPENING if self._keeps else NodePhase.OVER

    @property
    def is_uploaded(self) -> bool:
        """Whether all channels of the client are complete."""
        return all(window.is_complete for window in self._uploads.values())

    def is_received(self, channel: Channel) -> bool:
        """Whether a channel of the client is complete."""
        return self._uploads[channel].is_complete

    @property
    def room(self) -> dict[Channel, tuple[int, int]]:
        """For each output: the next offset, and how many bytes may be sent now."""
        return {channel: (window.position, window.room) for channel, window in self._outputs.items()}

    def hello(self, message: Hello) -> bytes:
        """Encode `hello`, the node's first message."""
        return control_frame(message)

    def offered(self, job_id: str, *, expires_s: int, challenge: str, received: Uploads) -> bytes:
        """Encode `offered`. `received`: the bytes of each channel that the node has from an earlier upload."""
        self._expect(NodePhase.DECIDING)
        credits = {}
        for channel, window in self._uploads.items():
            window.position = received.of(channel)
            credits[channel.label] = window.grant(UPLOAD_WINDOW_BYTES) or window.position
            window.credit = credits[channel.label]
        self.phase = NodePhase.UPLOADING
        return control_frame(
            Offered(
                job_id=job_id,
                expires_s=expires_s,
                challenge=challenge,
                received=received,
                credit=Uploads(**credits),
            )
        )

    def possessed(self, known: bool, channel: Channel = Channel.MODULE) -> bytes:
        """Encode the answer to a proof of possession, or to sealed memory."""
        self._expect(NodePhase.UPLOADING)
        if known:
            window = self._uploads[channel]
            window.position = window.size or 0
        return control_frame(
            Possessed(known=known, channel=None if channel is Channel.MODULE else channel.label)
        )

    def credit(self, channel: Channel) -> bytes:
        """Encode credit for the processed bytes of an upload; empty if the window is still large enough."""
        upto = self._uploads[channel].grant(UPLOAD_WINDOW_BYTES)
        return b"" if upto is None else control_frame(Credit(channel=channel.label, upto=upto))

    def progress(self, phase: str) -> bytes:
        """Encode a step that the node performs before it accepts the job."""
        if self.phase is NodePhase.UPLOADING and self.is_uploaded:
            self.phase = NodePhase.ADMITTING
        self._expect(NodePhase.ADMITTING)
        return control_frame(Progress(phase=phase))

    def accepted(self, job_id: str, status: Status) -> bytes:
        """Encode `accepted`: the job is durable."""
        if self.phase is NodePhase.UPLOADING and self.is_uploaded:
            self.phase = NodePhase.ADMITTING
        self._expect(NodePhase.ADMITTING)
        self._follow(status)
        return control_frame(Accepted(job_id=job_id, status=status))

    def attached(self, job_id: str, status: Status) -> bytes:
        """Encode `attached`: the node has the job already."""
        self._expect(NodePhase.DECIDING, NodePhase.ADMITTING)
        self._follow(status)
        return control_frame(Attached(job_id=job_id, status=status))

    def _follow(self, status: Status) -> None:
        offsets, credit, attempt = self._first
        self.phase = NodePhase.FOLLOWING
        self.attempt = status.attempt
        for channel in OUTPUTS:
            offset = offsets.of(channel) if attempt == status.attempt else 0
            self._outputs[channel] = SendWindow(channel, offset, credit.of(channel))
        if not self._follows:
            self._end()

    def state(self, status: Status) -> bytes:
        """Encode a new state. With a new attempt, both outputs start again at offset 0."""
        self._expect(NodePhase.FOLLOWING)
        if status.attempt != self.attempt:
            self._first = (NOTHING, self._first[1], status.attempt)
            self._follow(status)
        return control_frame(State(status=status))

    def output(self, channel: Channel, data: bytes) -> bytes:
        """Encode the next bytes of an output, at most as many as `room` says."""
        self._expect(NodePhase.FOLLOWING)
        self._idle.earn(2)  # a client may answer each frame with credit
        return self._outputs[channel].send(data)

    def result(self, status: Status, envelope: str) -> bytes:
        """Encode `result` with the envelope, the node's last message."""
        self._expect(NodePhase.FOLLOWING)
        self._end()
        return control_frame(Result(status=status, envelope=envelope))

    def status(self, job_id: str, status: Status) -> bytes:
        """Encode the answer to a question about a job."""
        self._expect(NodePhase.DECIDING)
        self._end()
        return control_frame(StatusIs(job_id=job_id, status=status))

    def capabilities(self, envelope: str) -> bytes:
        """Encode the answer with the capability record."""
        self._expect(NodePhase.DECIDING)
        self._end()
        return control_frame(Capabilities(envelope=envelope))

    def contents(self, contents: OutputContents) -> bytes:
        """Encode the kind and size of an output that the client fetches. `room` then has the bytes that may be sent."""
        self._expect(NodePhase.DECIDING)
        fetch = self._fetch
        if fetch is None:
            raise ValueError("nothing is fetched")
        self.phase = NodePhase.FETCHING
        self._fetch_end = min(fetch.offset + fetch.length, contents.size)
        self._outputs = {Channel.CONTENTS: SendWindow(Channel.CONTENTS, fetch.offset, fetch.credit)}
        if fetch.offset >= self._fetch_end:
            self._end()
        return control_frame(contents)

    @property
    def left_to_fetch(self) -> int:
        """How many bytes of the fetched output are still to be sent."""
        window = self._outputs.get(Channel.CONTENTS)
        if window is None or self.phase is not NodePhase.FETCHING:
            return 0
        return self._fetch_end - window.position

    def fetched(self, data: bytes) -> bytes:
        """Encode the next bytes of the fetched output, at most as many as `room` allows."""
        self._expect(NodePhase.FETCHING)
        self._idle.earn(2)  # as in `output`
        frame = self._outputs[Channel.CONTENTS].send(data)
        if not self.left_to_fetch:
            self._end()
        return frame

    def refused(self, refusal: Refused) -> bytes:
        """Encode a refusal, the last message on the stream: bytes of an upload may be on their way."""
        self._expect(NodePhase.DECIDING, NodePhase.UPLOADING, NodePhase.ADMITTING)
        self.phase = NodePhase.OVER
        return control_frame(refusal)

    def heartbeat(self) -> bytes:
        """Encode a heartbeat."""
        return control_frame(Heartbeat())

    def error(self, code: str, message: str) -> bytes:
        """Encode an `error` message, which says why the node closes the stream."""
        self.phase = NodePhase.OVER
        return control_frame(Error(code=code, message=message))

    def _expect(self, *phases: NodePhase) -> None:
        if self.phase not in phases:
            raise ValueError(f"no message for this phase: {self.phase.value}")
