"""Whatever comes over a stream: typed errors, no more memory than a frame, and the same events however it is cut."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasm_core.errors import ProtocolError
from plasm_core.protocol import messages as m
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.client_session import ClientConversation
from plasm_core.protocol.frames import Data, FrameReader, control_frame, data_frame
from plasm_core.protocol.node_session import NodeConversation, NodePhase
from plasm_core.records.job import JobState
from tests.protocol.strategies import VECTORS, cut, frames_of, splits, streams

Machine = ClientConversation | NodeConversation
LARGEST_FRAME = 4 + 1 + m.MAX_CONTROL_BYTES
STATUS = m.Status(state=JobState.RUNNING, attempt=1, stdout_bytes=0, stderr_bytes=0)
ZEROS = m.Uploads(module=0, args=0, env=0, stdin=0)
MESSAGES = {
    side: {
        item["message"]["type"]: bytes.fromhex(item["frame_hex"])
        for item in VECTORS["messages"]
        if item["from"] == side
    }
    for side in ("client", "node")
}


def parsed(side: str, name: str) -> m.Message:
    known = m.FROM_CLIENT if side == "client" else m.FROM_NODE
    (message,) = FrameReader(known).feed(MESSAGES[side][name])
    assert isinstance(message, m.Message)
    return message


def opened_node() -> NodeConversation:
    return NodeConversation()


def uploading_node() -> NodeConversation:
    node = NodeConversation()
    list(node.receive(MESSAGES["client"]["submit"]))
    node.offered("00" * 32, expires_s=60, challenge="00" * 32, received=ZEROS)
    return node


def followed_node() -> NodeConversation:
    node = NodeConversation()
    list(node.receive(MESSAGES["client"]["attach"]))
    node.attached("00" * 32, STATUS)
    return node


def fetched_from_node() -> NodeConversation:
    node = NodeConversation()
    list(node.receive(MESSAGES["client"]["fetch"]))
    node.contents(m.OutputContents(job_id="00" * 32, kind="file", size=70_000))
    return node


def refused_node() -> NodeConversation:
    node = uploading_node()
    node.refused(m.Refused(reason="storage_full", message="no room"))
    return node


def fetching_client() -> ClientConversation:
    client = ClientConversation()
    client.ask(m.Fetch(job_id="00" * 32, token="00" * 32, path="out", offset=0, length=70_000, credit=70_000))
    list(client.receive(MESSAGES["node"]["hello"]))
    list(client.receive(control_frame(m.OutputContents(job_id="00" * 32, kind="file", size=70_000))))
    return client


def fresh_client() -> ClientConversation:
    return ClientConversation()


def asking_client(name: str) -> Callable[[], ClientConversation]:
    def make() -> ClientConversation:
        client = ClientConversation()
        client.ask(parsed("client", name))
        list(client.receive(MESSAGES["node"]["hello"]))
        return client

    make.__name__ = f"client_after_{name}"
    return make


NODES = [opened_node, uploading_node, followed_node, fetched_from_node, refused_node]
CLIENTS = [
    fresh_client,
    fetching_client,
    *(
        asking_client(name)
        for name in ("submit", "attach", "status", "cancel", "release", "capabilities", "fetch")
    ),
]
EITHER: list[tuple[Callable[[], Machine], str]] = [
    *((make, "client") for make in NODES),
    *((make, "node") for make in CLIENTS),
]
either = pytest.mark.parametrize(("make", "other"), EITHER, ids=[make.__name__ for make, _ in EITHER])


def play(machine: Machine, pieces: Iterable[bytes]) -> tuple[list[m.Message | Data], str | None]:
    """Feed a machine, and return what it made of that, and the error it ended by."""
    events: list[m.Message | Data] = []
    try:
        for piece in pieces:
            events.extend(filter(None, machine.receive(piece)))
        machine.end()
    except ProtocolError as exc:
        return events, str(exc)
    return events, None


@either
@settings(max_examples=25)
@given(data=st.data())
def test_a_stream_means_the_same_in_any_pieces(
    make: Callable[[], Machine], other: str, data: st.DataObject
) -> None:
    stream = data.draw(streams(other))
    pieces = data.draw(splits(stream))

    whole = play(make(), [stream])

    assert play(make(), pieces) == whole
    assert play(make(), (stream[at : at + 1] for at in range(len(stream)))) == whole


@either
@settings(max_examples=25)
@given(data=st.data())
def test_memory_is_bounded_by_a_frame(make: Callable[[], Machine], other: str, data: st.DataObject) -> None:
    machine = make()
    for piece in data.draw(splits(data.draw(streams(other)))):
        _, error = play_on(machine, piece)
        assert len(machine._reader._buffer) <= LARGEST_FRAME
        if error:
            break


def play_on(machine: Machine, piece: bytes) -> tuple[list[m.Message | Data], str | None]:
    try:
        return list(filter(None, machine.receive(piece))), None
    except ProtocolError as exc:
        return [], str(exc)


@pytest.mark.parametrize("length", [0, 131_074, 2**31, 2**32 - 1])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_hostile_length_is_refused_before_memory_is_allocated(length: int, kind: int) -> None:
    reader = FrameReader(m.FROM_CLIENT)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            list(reader.feed(struct.pack(">IB", length, kind)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100_000


def test_the_longest_frame_takes_little_more_than_itself_even_byte_by_byte() -> None:
    text = "x" * (m.MAX_CONTROL_BYTES - 40)
    frame = control_frame(m.Capabilities(envelope=text))
    reader = FrameReader(m.FROM_NODE)
    tracemalloc.start()
    try:
        events = [event for byte in frame for event in reader.feed(bytes([byte]))]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert events == [m.Capabilities(envelope=text)]
    assert peak < 8 * len(frame)


def test_many_small_frames_at_once_take_linear_time_and_no_extra_room() -> None:
    reader = FrameReader(m.FROM_CLIENT)

    assert len(list(reader.feed(control_frame(m.Heartbeat()) * 20_000))) == 20_000
    assert len(reader._buffer) == 0


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (opened_node, m.Heartbeat()),
        (uploading_node, m.Heartbeat()),
        (followed_node, m.Credit(channel="stdout", upto=1 << 21, attempt=1)),
    ],
    ids=["node", "upload", "credit"],
)
def test_messages_that_bring_nothing_have_a_budget(
    machine: Callable[[], Machine], message: m.Message
) -> None:
    """Thousands of them in one read would keep the loop from everybody else."""
    conversation = machine()
    frame = control_frame(message)
    for _ in range(1000):
        list(conversation.receive(frame))

    with pytest.raises(ProtocolError, match="faster than anything calls for"):
        list(conversation.receive(frame * 20_000))


def test_credit_that_answers_what_was_sent_is_never_too_much() -> None:
    """A client may give credit for each small frame of output that it read."""
    node = followed_node()
    upto = 1 << 20
    for _ in range(5000):
        upto += 1
        node.output(Channel.STDOUT, b"x")
        list(node.receive(control_frame(m.Credit(channel="stdout", upto=upto, attempt=1))))

    assert node.phase is NodePhase.FOLLOWING


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"type":' * 10_000,
        b'{"type":"heartbeat","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"type":"heartbeat","n":' + b"9" * 100_000 + b"}",
        b'{"type":"heartbeat","n":1e999999}' * 2,
        b'{"type":"heartbeat","n":NaN}',
        b'{"type":"heartbeat","type":"hello"}',
        b'{"type":"error","code":"x","message":"\\ud800"}',
        b'{"type":"error","code":"x","message":"\xff"}',
        b'{"type":["heartbeat"]}',
        b'{"type":null}',
        b"null",
        b"",
        b'\xef\xbb\xbf{"type":"heartbeat"}',
        b'{"type":"credit","channel":"stdout","upto":-1,"attempt":0}',
        b'{"type":"credit","channel":"stdout","upto":9007199254740992,"attempt":0}',
        b'{"type":"credit","channel":"stdout","upto":1.5,"attempt":0}',
        b'{"type":"credit","channel":"stdout","upto":true,"attempt":0}',
        json.dumps({"type": "submit", "manifest": "x" * 70_000}).encode(),
    ],
    ids=range(19),
)
def test_a_hostile_body_is_a_protocol_error(body: bytes) -> None:
    frame = struct.pack(">IB", 1 + len(body), 0) + body
    for make, _ in EITHER:
        with pytest.raises(ProtocolError):
            list(make().receive(frame))


@either
def test_a_stream_that_ends_within_a_frame_is_a_protocol_error(
    make: Callable[[], Machine], other: str
) -> None:
    frame = MESSAGES[other]["heartbeat"]
    for size in range(1, len(frame)):
        machine = make()
        list(machine.receive(frame[:size]))
        with pytest.raises(ProtocolError, match="within a frame"):
            machine.end()


def _state(machine: Machine) -> Sequence[object]:
    return machine.phase, machine.attempt


@either
def test_a_message_that_has_no_place_is_a_protocol_error_and_changes_nothing(
    make: Callable[[], Machine], other: str
) -> None:
    """A message that is not accepted leaves the conversation unchanged."""
    refused = 0
    for frame in frames_of(other):
        machine = make()
        before = _state(machine)
        try:
            list(machine.receive(frame))
        except ProtocolError:
            refused += 1
            assert _state(machine) == before

    assert refused >= 5


@given(st.integers(1, 200), st.integers(0, 400), st.integers(0, 400))
def test_more_than_was_given_credit_for_is_never_taken(size: int, offset: int, credit: int) -> None:
    client = ClientConversation()
    list(client.receive(MESSAGES["node"]["hello"]))
    client.ask(
        m.Attach(
            job_id="00" * 32,
            token="00" * 32,
            credit=m.Outputs(stdout=credit, stderr=0),
            offsets=m.NOTHING,
            attempt=0,
        )
    )
    list(client.receive(control_frame(m.Attached(job_id="00" * 32, status=STATUS))))
    frame = data_frame(Channel.STDOUT, offset, bytes(size))

    if offset == 0 and size <= credit:
        assert list(client.receive(frame)) == [Data(Channel.STDOUT, 0, bytes(size))]
    else:
        with pytest.raises(ProtocolError):
            list(client.receive(frame))


@given(st.lists(st.integers(0, 2**53 - 1), max_size=6))
def test_credit_never_falls(grants: list[int]) -> None:
    node = followed_node()
    highest = dict(node.room)[Channel.STDOUT]
    upto = m.Credit(channel="stdout", upto=0, attempt=1)
    known = json.loads(json.dumps(VECTORS["messages"]))
    attach = next(item["message"] for item in known if item["message"]["type"] == "attach")
    last = attach["credit"]["stdout"]
    for grant in grants:
        frame = control_frame(m.Credit(channel=upto.channel, upto=grant, attempt=1))
        if grant < last:
            with pytest.raises(ProtocolError, match="fell"):
                list(node.receive(frame))
            break
        assert list(node.receive(frame)) == [None]
        last = grant
    position, room = node.room[Channel.STDOUT]
    assert position == highest[0]
    assert room == max(0, min(65_536, last - position))


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=100), st.lists(st.integers(0, 120), max_size=5))
def test_data_is_what_was_sent(data: bytes, points: list[int]) -> None:
    reader = FrameReader(m.FROM_NODE)
    frame = data_frame(Channel.STDERR, 7, data)

    events = [event for piece in cut(frame, points) for event in reader.feed(piece)]

    assert events == [Data(Channel.STDERR, 7, data)]
    assert reader.is_between_frames
