"""The node's side of one conversation: bytes in, events out; what it says, as bytes.

It knows what may come when, and how much of it. It decides nothing, waits for nothing and stores nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from plasm_core.budget import Budget
from plasm_core.errors import ProtocolError
from plasm_core.wire.frames import (
    IDLE_FRAMES,
    IDLE_FRAMES_PER_S,
    OUTPUTS,
    UPLOADS,
    Channel,
    Data,
    FrameReader,
    control_frame,
)
from plasm_core.wire.messages import (
    FROM_CLIENT,
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
    Uploads,
)
from plasm_core.wire.windows import ReceiveWindow, SendWindow

UPLOAD_WINDOW_BYTES = 1 << 20


class Phase(enum.Enum):
    """Where a conversation stands, and so whose turn it is."""

    OPENING = "the client is to say what it wants"
    DECIDING = "the node is to answer"
    UPLOADING = "the client is to upload"
    ADMITTING = "the node is to accept or refuse"
    FOLLOWING = "the client follows the job"
    OVER = "all is said"


class NodeConversation:
    """What one client and this node say to each other on one stream.

    `receive` yields the client's messages, `Data` of its channels, and nothing for heartbeats and credit.
    The methods named like messages return the bytes to send. A `ProtocolError` ends the conversation: send
    `error`, and close.
    """

    def __init__(self) -> None:
        self.phase = Phase.OPENING
        self.attempt = 0
        self._reader = FrameReader(FROM_CLIENT)
        self._uploads: dict[Channel, ReceiveWindow] = {}
        self._outputs: dict[Channel, SendWindow] = {}
        self._first = (NOTHING, NOTHING, 0)
        self._challenged = False
        self._idle = Budget(capacity=IDLE_FRAMES, per_s=IDLE_FRAMES_PER_S)

    def receive(self, data: bytes) -> Iterator[Message | Data]:
        """Take bytes of the client and yield what it said. Raises: `ProtocolError`."""
        for frame in self._reader.feed(data):
            if isinstance(frame, Data):
                self._take(frame)
                yield frame
            elif isinstance(frame, (Credit, Heartbeat)):
                if not self._idle.spend():
                    raise ProtocolError("heartbeats and credit come faster than anything calls for")
                if isinstance(frame, Credit):
                    self._credit(frame)
            else:
                self._check(frame)
                yield frame

    def end(self) -> None:
        """Say that the client has ended its side. Raises: `ProtocolError` in the midst of a frame."""
        if not self._reader.is_between_frames:
            raise ProtocolError("the stream ended within a frame")

    def _check(self, message: Message) -> None:
        if isinstance(message, Error):
            self.phase = Phase.OVER
            return
        if isinstance(message, Possession) and self.phase is Phase.UPLOADING and not self._challenged:
            self._challenged = True
            if not self.is_uploaded:
                return
        opening = isinstance(message, (Submit, Attach, Question, AskCapabilities))
        if not opening or self.phase is not Phase.OPENING:
            raise ProtocolError(f"{message.type} has no place where {self.phase.value}")
        self.phase = Phase.DECIDING
        if isinstance(message, Submit):
            self._first = (NOTHING, message.credit, 0)
            sizes = message.sizes
            self._uploads = {item: ReceiveWindow(item, size=getattr(sizes, item.label)) for item in UPLOADS}
        elif isinstance(message, Attach):
            self._first = (message.offsets, message.credit, message.attempt)

    def _take(self, data: Data) -> None:
        window = self._uploads.get(data.channel)
        if self.phase is not Phase.UPLOADING or window is None:
            raise ProtocolError(f"bytes of {data.channel.label} have no place where {self.phase.value}")
        window.take(data)
        if data.channel is Channel.MODULE:
            self._challenged = True  # the time for a proof is over

    def _credit(self, credit: Credit) -> None:
        window = next((item for item in self._outputs.values() if item.channel.label == credit.channel), None)
        if window is not None and self.phase is Phase.OVER:
            return  # the client cannot know yet that all is said
        if window is None or self.phase is not Phase.FOLLOWING:
            raise ProtocolError(f"credit for {credit.channel} has no place where {self.phase.value}")
        if credit.attempt == self.attempt:
            window.grow(credit.upto)

    @property
    def is_uploaded(self) -> bool:
        """Whether all four channels of the client are complete."""
        return all(window.is_complete for window in self._uploads.values())

    @property
    def room(self) -> dict[Channel, tuple[int, int]]:
        """For each output: the offset that comes next, and how many bytes may be sent now."""
        return {channel: (window.position, window.room) for channel, window in self._outputs.items()}

    def hello(self, message: Hello) -> bytes:
        """Introduce the node. It is the first thing sent."""
        return control_frame(message)

    def offered(self, job_id: str, *, expires_s: int, challenge: str, received: Uploads) -> bytes:
        """Reserve a place. `received` are the bytes kept of an earlier upload."""
        self._expect(Phase.DECIDING)
        credits = {}
        for channel, window in self._uploads.items():
            window.position = getattr(received, channel.label)
            credits[channel.label] = window.grant(UPLOAD_WINDOW_BYTES) or window.position
            window.credit = credits[channel.label]
        self.phase = Phase.UPLOADING
        return control_frame(
            Offered(
                job_id=job_id,
                expires_s=expires_s,
                challenge=challenge,
                received=received,
                credit=Uploads(**credits),
            )
        )

    def possessed(self, known: bool) -> bytes:
        """Answer a proof."""
        self._expect(Phase.UPLOADING)
        if known:
            window = self._uploads[Channel.MODULE]
            window.position = window.size or 0
        return control_frame(Possessed(known=known))

    def credit(self, channel: Channel) -> bytes:
        """Give credit for an upload whose bytes so far are out of the way; no bytes if it is too early."""
        upto = self._uploads[channel].grant(UPLOAD_WINDOW_BYTES)
        return b"" if upto is None else control_frame(Credit(channel=channel.label, upto=upto))

    def progress(self, phase: str) -> bytes:
        """Tell what is done before the job is accepted."""
        if self.phase is Phase.UPLOADING and self.is_uploaded:
            self.phase = Phase.ADMITTING
        self._expect(Phase.ADMITTING)
        return control_frame(Progress(phase=phase))

    def accepted(self, job_id: str, status: Status) -> bytes:
        """Say that the job is durable."""
        if self.phase is Phase.UPLOADING and self.is_uploaded:
            self.phase = Phase.ADMITTING
        self._expect(Phase.ADMITTING)
        self._follow(status)
        return control_frame(Accepted(job_id=job_id, status=status))

    def attached(self, job_id: str, status: Status) -> bytes:
        """Say that the job is there already."""
        self._expect(Phase.DECIDING, Phase.ADMITTING)
        self._follow(status)
        return control_frame(Attached(job_id=job_id, status=status))

    def _follow(self, status: Status) -> None:
        offsets, credit, attempt = self._first
        self.phase = Phase.FOLLOWING
        self.attempt = status.attempt
        for channel in OUTPUTS:
            offset = getattr(offsets, channel.label) if attempt == status.attempt else 0
            self._outputs[channel] = SendWindow(channel, offset, getattr(credit, channel.label))

    def state(self, status: Status) -> bytes:
        """Tell a new state. If it is a new attempt, both outputs begin again."""
        self._expect(Phase.FOLLOWING)
        if status.attempt != self.attempt:
            self._first = (NOTHING, self._first[1], status.attempt)
            self._follow(status)
        return control_frame(State(status=status))

    def output(self, channel: Channel, data: bytes) -> bytes:
        """Send the next bytes of an output, no more than there is room for."""
        self._expect(Phase.FOLLOWING)
        self._idle.earn(2)  # a client may answer each frame with credit
        return self._outputs[channel].send(data)

    def result(self, status: Status, envelope: str) -> bytes:
        """Send the envelope: all is said."""
        self._expect(Phase.FOLLOWING)
        self.phase = Phase.OVER
        return control_frame(Result(status=status, envelope=envelope))

    def status(self, job_id: str, status: Status) -> bytes:
        """Answer a question about a job."""
        self._expect(Phase.DECIDING)
        self.phase = Phase.OVER
        return control_frame(StatusIs(job_id=job_id, status=status))

    def capabilities(self, envelope: str) -> bytes:
        """Answer what the node can and allows."""
        self._expect(Phase.DECIDING)
        self.phase = Phase.OVER
        return control_frame(Capabilities(envelope=envelope))

    def refused(self, refusal: Refused) -> bytes:
        """Decline. All is said."""
        self._expect(Phase.DECIDING, Phase.UPLOADING, Phase.ADMITTING)
        self.phase = Phase.OVER
        return control_frame(refusal)

    def heartbeat(self) -> bytes:
        """Say that the node is still here."""
        return control_frame(Heartbeat())

    def error(self, code: str, message: str) -> bytes:
        """Say why the node closes."""
        self.phase = Phase.OVER
        return control_frame(Error(code=code, message=message))

    def _expect(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise ValueError(f"not a time to say this: {self.phase.value}")
