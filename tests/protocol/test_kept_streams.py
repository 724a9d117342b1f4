"""Several conversations on one stream, one after the other, and both sides' peers of an earlier release."""

from __future__ import annotations

import json

import attrs
import pytest

from plasm_core.errors import ProtocolError
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.client_session import ClientConversation
from plasm_core.protocol.frames import Data, control_frame
from plasm_core.protocol.messages import (
    AskCapabilities,
    AskStatus,
    Credit,
    Hello,
    Message,
    Outputs,
    Refused,
    Status,
    Submit,
    Uploads,
)
from plasm_core.protocol.node_session import NodeConversation, NodePhase
from plasm_core.records.job import JobState

JOB, TOKEN, PEER = "ab" * 32, "cd" * 32, "12D3KooWD2Ewm7dP3TgNNEoHbu52hxMG9pta43Rh9xGwQbJnV6yQ"
SIZES = Uploads(module=3, args=0, env=0, stdin=0)
ROOM = Outputs(stdout=100, stderr=100)
QUEUED = Status(state=JobState.QUEUED, attempt=0, stdout_bytes=0, stderr_bytes=0)
RUNNING = Status(state=JobState.RUNNING, attempt=1, stdout_bytes=0, stderr_bytes=0)
ENDED = Status(state=JobState.COMPLETE, attempt=1, stdout_bytes=2, stderr_bytes=0, outcome="exited")


def submission(*, follow: bool | None = None) -> Submit:
    return Submit(manifest="{}", token=TOKEN, sizes=SIZES, credit=ROOM, follow=follow)


def fields_of(frame: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(frame[5:])
    return found


def greeted(*, keep_s: int | None = 5) -> ClientConversation:
    client = ClientConversation()
    list(client.receive(control_frame(Hello(peer=PEER, keep_s=keep_s))))
    return client


def submitted(node: NodeConversation, client: ClientConversation, message: Submit) -> None:
    """Bring both sides to where the node has accepted the job."""
    list(node.receive(client.ask(message)))
    nothing = Uploads(module=0, args=0, env=0, stdin=0)
    list(client.receive(node.offered(JOB, expires_s=9, challenge="00" * 32, received=nothing)))
    list(node.receive(client.upload(Channel.MODULE, b"abc")))
    list(client.receive(node.accepted(JOB, QUEUED)))


def run(node: NodeConversation, client: ClientConversation) -> None:
    """Have a whole job."""
    submitted(node, client, submission())
    list(client.receive(node.state(RUNNING)))
    list(client.receive(node.output(Channel.STDOUT, b"hi")))
    list(client.receive(node.result(ENDED, "{}")))


def test_a_job_and_a_question_follow_a_job_on_one_stream() -> None:
    node, first = NodeConversation(), greeted()
    run(node, first)
    second, third = ClientConversation(keep_s=5), ClientConversation(keep_s=5)

    run(node, second)
    (asked,) = node.receive(third.ask(AskStatus(job_id=JOB, token=TOKEN)))
    list(third.receive(node.status(JOB, ENDED)))

    assert isinstance(asked, AskStatus)
    assert first.is_kept
    assert second.is_kept
    assert third.is_kept
    assert not node.is_over


def test_a_submission_that_is_not_followed_is_over_when_it_is_accepted() -> None:
    """So that what follows on the stream, as the same job's `attach`, crosses nothing."""
    node, client = NodeConversation(), greeted()

    submitted(node, client, submission(follow=False))

    assert client.is_kept
    assert not node.is_over
    assert not node.follows


@pytest.mark.parametrize("question", [submission(), AskCapabilities()], ids=lambda item: item.type)
def test_nothing_is_asked_of_a_node_of_an_earlier_release(question: Message) -> None:
    client = greeted(keep_s=None)

    said = fields_of(client.ask(question))

    assert "keep" not in said
    assert client.keep_s is None


def test_the_stream_of_a_client_of_an_earlier_release_is_closed() -> None:
    node, client = NodeConversation(), greeted(keep_s=None)

    run(node, client)

    assert node.is_over
    assert not client.is_kept
    with pytest.raises(ProtocolError, match="all is said"):
        list(node.receive(control_frame(AskCapabilities())))


def test_a_stream_is_not_kept_after_a_refusal() -> None:
    """Bytes of the upload may be on their way, and would be taken for another job's."""
    node, client = NodeConversation(), greeted()
    list(node.receive(client.ask(submission())))
    list(client.receive(node.refused(Refused(reason="queue_full", message="full"))))

    assert node.is_over
    assert not client.is_kept


def test_credit_that_crossed_the_result_is_not_taken_for_the_next_jobs() -> None:
    node, client = NodeConversation(), greeted()
    submitted(node, client, submission())
    list(client.receive(node.state(RUNNING)))
    list(client.receive(node.output(Channel.STDOUT, b"hi")))
    crossing = control_frame(Credit(channel="stdout", upto=500, attempt=1))
    node.result(ENDED, "{}")

    assert list(node.receive(crossing)) == [None]
    list(node.receive(control_frame(attrs.evolve(submission(), keep=True))))
    assert node.phase is NodePhase.DECIDING
    assert node.room == {}


def test_an_opening_message_before_the_last_one_was_said_is_refused() -> None:
    node, client = NodeConversation(), greeted()
    submitted(node, client, submission())

    with pytest.raises(ProtocolError, match="follows the job"):
        list(node.receive(control_frame(AskCapabilities(keep=True))))


def test_bytes_of_an_upload_between_conversations_are_refused() -> None:
    node, client = NodeConversation(), greeted()
    run(node, client)

    with pytest.raises(ProtocolError, match="have no place"):
        list(node.receive(bytes.fromhex("0000000b0101") + bytes(8) + b"x"))


def test_bytes_on_their_way_when_the_rest_was_refused_are_passed_over() -> None:
    """A client cannot know yet: were they an error, it could cut the refusal off."""
    node, client = NodeConversation(), greeted()
    list(node.receive(client.ask(submission())))
    nothing = Uploads(module=0, args=0, env=0, stdin=0)
    list(client.receive(node.offered(JOB, expires_s=9, challenge="00" * 32, received=nothing)))
    first, rest = client.upload(Channel.MODULE, b"a"), client.upload(Channel.MODULE, b"bc")
    list(node.receive(first))
    node.refused(Refused(reason="storage_full", message="no room"))

    assert list(node.receive(rest)) == [None]


def test_windows_restart_with_each_conversation() -> None:
    """Offsets and credit of one job are no other's."""
    node = NodeConversation()
    run(node, greeted())
    client = ClientConversation(keep_s=5)
    submitted(node, client, submission())
    list(client.receive(node.state(RUNNING)))

    (said,) = client.receive(node.output(Channel.STDOUT, b"hi"))

    assert said == Data(Channel.STDOUT, 0, b"hi")
    assert {channel: room for channel, (_, room) in node.room.items()} == dict.fromkeys(OUTPUTS, 100) | {
        Channel.STDOUT: 98
    }
