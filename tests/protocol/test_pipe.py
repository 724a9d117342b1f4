"""A real client's machine against a real node's, over a pipe that delivers, delays and breaks as it likes."""

from __future__ import annotations

import random

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core.protocol.channels import OUTPUTS, UPLOADS, Channel
from plasm_core.protocol.client_session import ClientConversation, ClientPhase
from plasm_core.protocol.frames import Data
from plasm_core.protocol.messages import (
    NOTHING,
    Accepted,
    Attach,
    Attached,
    Hello,
    Message,
    Offered,
    Outputs,
    Possessed,
    Possession,
    Progress,
    Result,
    State,
    Status,
    Submit,
    Uploads,
)
from plasm_core.protocol.node_session import NodeConversation, NodePhase
from plasm_core.records.job import JobState

JOB, TOKEN, PEER = "ab" * 32, "cd" * 32, "12D3KooWD2Ewm7dP3TgNNEoHbu52hxMG9pta43Rh9xGwQbJnV6yQ"
STEPS = 20_000


@attrs.define
class Node:
    """A node with one job: what it has of it outlives its conversations."""

    rng: random.Random
    outputs: dict[Channel, bytes]
    attempts: int
    knows_module: bool
    received: dict[Channel, bytes] = attrs.field(factory=lambda: dict.fromkeys(UPLOADS, b""))
    sizes: Uploads | None = None
    state: str = ""
    attempt: int = 0
    written: dict[Channel, int] = attrs.field(factory=lambda: dict.fromkeys(OUTPUTS, 0))
    sent_bytes: int = 0

    @property
    def status(self) -> Status:
        return Status(
            state=JobState(self.state),
            attempt=self.attempt,
            stdout_bytes=self.written[Channel.STDOUT],
            stderr_bytes=self.written[Channel.STDERR],
        )

    def hear(self, conversation: NodeConversation, said: Message | Data) -> bytes:
        """Answer the client."""
        if isinstance(said, Data):
            self.received[said.channel] += said.data
            return conversation.credit(said.channel)
        if isinstance(said, Possession):
            if self.knows_module:
                self.received[Channel.MODULE] = bytes(self.sizes.module if self.sizes else 0)
            return conversation.possessed(self.knows_module)
        if isinstance(said, Attach) or self.state:
            return conversation.attached(JOB, self.status)
        assert isinstance(said, Submit)
        self.sizes = said.sizes
        received = Uploads(**{channel.label: len(self.received[channel]) for channel in UPLOADS})
        return conversation.offered(JOB, expires_s=60, challenge="00" * 32, received=received)

    def act(self, conversation: NodeConversation, *, hurry: bool) -> bytes:
        """Go on with the job, and tell of it."""
        if conversation.phase is NodePhase.UPLOADING and conversation.is_uploaded:
            self.state, self.attempt = "QUEUED", 0
            progress = conversation.progress("checking") if self.rng.random() < 0.5 else b""
            return progress + conversation.accepted(JOB, self.status)
        if conversation.phase is not NodePhase.FOLLOWING:
            return b""
        told = self._run(hurry=hurry)
        if told or conversation.attempt != self.attempt:
            return conversation.state(self.status)
        for channel, (position, room) in conversation.room.items():
            ready = min(room, self.written[channel] - position, self.rng.randrange(1, 65_537))
            if ready > 0:
                self.sent_bytes += ready
                return conversation.output(channel, self.outputs[channel][position : position + ready])
        done = all(conversation.room[channel][0] == self.written[channel] for channel in OUTPUTS)
        if self.state == "COMPLETE" and done:
            return conversation.result(self.status, "envelope")
        return b""

    def _run(self, *, hurry: bool) -> bool:
        if self.state == "COMPLETE":
            return False
        if self.state == "QUEUED":
            self.state, self.attempt = "RUNNING", self.attempt + 1
            return True
        if self.attempt < self.attempts and not hurry and self.rng.random() < 0.02:
            self.state, self.written = "QUEUED", dict.fromkeys(OUTPUTS, 0)
            return True
        for channel in OUTPUTS:
            left = len(self.outputs[channel]) - self.written[channel]
            self.written[channel] += min(left, self.rng.randrange(200_000))
        if all(self.written[channel] == len(self.outputs[channel]) for channel in OUTPUTS):
            self.state = "COMPLETE"
            return True
        return False


@attrs.define
class Client:
    """A client with one job: what it has of it outlives its conversations."""

    rng: random.Random
    uploads: dict[Channel, bytes]
    window: int
    taken: dict[Channel, bytes] = attrs.field(factory=lambda: dict.fromkeys(OUTPUTS, b""))
    consumed: dict[Channel, int] = attrs.field(factory=lambda: dict.fromkeys(OUTPUTS, 0))
    attempt: int = 0
    accepted: bool = False
    result: Result | None = None
    allowed_bytes: int = 0

    def begin(self, conversation: ClientConversation) -> bytes:
        """Say what is wanted."""
        self.allowed_bytes = self.window
        if not self.accepted:
            sizes = Uploads(**{channel.label: len(self.uploads[channel]) for channel in UPLOADS})
            credit = Outputs(stdout=self.window, stderr=self.window)
            return conversation.ask(Submit(manifest="{}", token=TOKEN, sizes=sizes, credit=credit))
        at = {channel.label: len(self.taken[channel]) for channel in OUTPUTS}
        self.consumed = {channel: len(self.taken[channel]) for channel in OUTPUTS}
        self.allowed_bytes += max(at.values())  # a new attempt begins with all of this conversation's credit
        return conversation.ask(
            Attach(
                job_id=JOB,
                token=TOKEN,
                credit=Outputs(**{label: offset + self.window for label, offset in at.items()}),
                offsets=Outputs(**at) if self.rng.random() < 0.9 else self._forget(),
                attempt=self.attempt,
            )
        )

    def _forget(self) -> Outputs:
        self._restart(self.attempt)
        return NOTHING

    def _restart(self, attempt: int) -> None:
        self.attempt = attempt
        self.taken, self.consumed = dict.fromkeys(OUTPUTS, b""), dict.fromkeys(OUTPUTS, 0)

    def hear(self, conversation: ClientConversation, said: Message | Data) -> bytes:
        """Take what the node says."""
        if isinstance(said, Data):
            assert said.offset == len(self.taken[said.channel])
            self.taken[said.channel] += said.data
            held = len(self.taken[said.channel]) - self.consumed[said.channel]
            assert held <= self.allowed_bytes
        elif isinstance(said, Offered):
            if Channel.MODULE in conversation.room and self.rng.random() < 0.5:
                return conversation.prove("00" * 32)
        elif isinstance(said, (Accepted, Attached, State)):
            self.accepted = True
            if said.status.attempt != self.attempt:
                self._restart(said.status.attempt)
        elif isinstance(said, Result):
            self.result = said
        else:
            assert isinstance(said, (Hello, Possessed, Progress))
        return b""

    def act(self, conversation: ClientConversation) -> bytes:
        """Upload some, or take some output out of the way and give credit."""
        for channel, (position, room) in conversation.room.items():
            size = min(room, self.rng.randrange(1, 65_537))
            if size:
                return conversation.upload(channel, self.uploads[channel][position : position + size])
        if conversation.phase is ClientPhase.FOLLOWING:
            channel = self.rng.choice(OUTPUTS)
            behind = len(self.taken[channel]) - self.consumed[channel]
            self.consumed[channel] += self.rng.randrange(behind + 1) if behind > 1 else behind
            return conversation.credit(channel, self.window, self.consumed[channel])
        return b""


def converse(rng: random.Random, node: Node, client: Client) -> int:
    """Let them talk until the client has its result. Return the number of streams that took."""
    streams = 0
    steps = 0
    while client.result is None:
        streams += 1
        here, there = ClientConversation(), NodeConversation()
        up, down = bytearray(), bytearray(there.hello(Hello(peer=PEER)))
        up += client.begin(here)
        while client.result is None:
            steps += 1
            assert steps < STEPS, "they do not come to an end"
            hurry = steps > STEPS // 10
            if not hurry and rng.random() < 0.005:
                break  # and all that is on its way is lost
            turn = rng.randrange(4)
            if turn == 0:
                up += client.act(here)
            elif turn == 1:
                down += node.act(there, hurry=hurry)
            elif turn == 2:
                piece = _some(rng, up)
                for said in there.receive(piece):
                    down += node.hear(there, said) if said is not None else b""
            else:
                piece = _some(rng, down)
                for event in here.receive(piece):
                    up += client.hear(here, event) if event is not None else b""
            for _, room in there.room.values():
                assert 0 <= room <= 65_536
    return streams


def _some(rng: random.Random, pipe: bytearray) -> bytes:
    size = rng.choice((1, 5, 100, 70_000, 1 << 20))
    piece = bytes(pipe[:size])
    del pipe[:size]
    return piece


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(*(st.sampled_from([0, 1, 1000, 65_536, 65_537, 1_500_000]) for _ in range(6))),
    window=st.sampled_from([1, 7, 5000, 1 << 20]),
    attempts=st.integers(1, 3),
    knows_module=st.booleans(),
)
def test_every_job_is_uploaded_once_and_its_output_taken_whole(
    seed: int, sizes: tuple[int, ...], window: int, attempts: int, knows_module: bool
) -> None:
    rng = random.Random(seed)
    uploads = {channel: bytes(size) for channel, size in zip(UPLOADS, sizes, strict=False)}
    most = 400_000 if window > 1000 else 20 * window
    outputs = {
        channel: bytes(index % 251 for index in range(min(size, most)))
        for channel, size in zip(OUTPUTS, sizes[4:], strict=True)
    }
    node = Node(rng, outputs, attempts, knows_module)
    client = Client(rng, uploads, window)

    converse(rng, node, client)

    assert node.received == uploads
    assert client.taken == outputs
    assert client.result is not None
    assert client.result.status == node.status
