"""Clients that go away, come back, and come twice."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import attrs
import pytest

from plasm_core import starting
from plasm_core.client import Client, JobResult, Submission
from plasm_core.errors import PeerUnreachableError
from plasm_core.protocol.channels import OUTPUTS, Channel
from plasm_core.protocol.messages import Accepted, Attached, Error, Offered, State
from plasm_core.records import Handle, Limits, PeerId, sha256
from tests.daemon.conftest import HELLO
from tests.support.conversing import PLENTY, calling
from tests.support.daemon import Daemon
from tests.support.wat import FOREVER, writing

STDIN = random.Random(1).randbytes(1_500_000).hex().encode()
WINDOW = 1 << 20


@pytest.fixture(autouse=True)
def _here(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library find the daemon."""
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))


def big() -> Submission:
    return Submission.of(HELLO.read_bytes(), stdin=STDIN)


def spinning() -> Submission:
    limits = Limits(gas=500_000_000, memory_bytes=1 << 20, output_bytes=1 << 20)
    return Submission.of(writing(b"begun", then=FOREVER), limits=limits)


@pytest.mark.parametrize("seed", range(4))
def test_an_interrupted_upload_resumes_where_it_stopped(daemon: Daemon, seed: int) -> None:
    rng, job = random.Random(seed), big()
    with calling(daemon.socket) as caller:
        caller.submit(job)
        caller.expect(Offered)
        sent = caller.upload(job, rng.randrange(WINDOW + 1, 2 * WINDOW))

    with calling(daemon.socket) as caller:
        handle = caller.submit(job)
        offered = caller.expect(Offered)
        again = caller.upload(job)
        caller.expect(Accepted)

    received = sum(getattr(offered.received, name) for name in ("module", "args", "env", "stdin"))
    assert WINDOW // 2 <= received <= sent
    assert again == sum(source.size_bytes for source in job.sources.values()) - received
    assert Client().result(handle, timeout_s=60).stdout == STDIN[::-1]


def test_an_upload_is_cut_short_again_and_again_at_any_point(daemon: Daemon) -> None:
    rng, job = random.Random(os.urandom(8)), big()
    for _ in range(12):
        with calling(daemon.socket) as caller:
            caller.submit(job)
            caller.expect(Offered)
            caller.upload(job, rng.randrange(400_000))

    result = Client().run(job, timeout_s=60)

    assert result.stdout == STDIN[::-1]


def test_an_upload_that_is_complete_is_not_lost_with_its_stream(daemon: Daemon) -> None:
    job = Submission.of(writing(os.urandom(8)))
    with calling(daemon.socket) as caller:
        caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)

    with calling(daemon.socket) as caller:
        handle = caller.submit(job)
        answer = caller.receive()
        caller.upload(job)
        if isinstance(answer, Offered):
            caller.expect(Accepted)
        else:
            assert isinstance(answer, Attached)

    assert Client().result(handle, timeout_s=60).receipt.result.outcome.ok


def test_a_client_that_left_while_its_job_ran_gets_the_result(daemon: Daemon) -> None:
    job = spinning()
    with calling(daemon.socket) as caller:
        handle = caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)
        caller.consume(len(b"begun"))

    result = Client().result(handle, timeout_s=60)

    assert result.receipt.result.outcome.kind == "out_of_gas"
    assert result.stdout == b"begun"


@pytest.mark.parametrize("seed", range(3))
def test_an_interrupted_download_resumes_where_it_stopped(daemon: Daemon, seed: int) -> None:
    rng = random.Random(seed)
    piece = rng.randbytes(60_000)
    job = Submission.of(writing(piece, times=60))
    cut = rng.randrange(1, 3 * WINDOW)
    with calling(daemon.socket) as caller:
        handle = caller.submit(job, PLENTY)
        caller.expect(Offered)
        caller.upload(job)
        caller.consume(cut)
        had, attempt = caller.output, caller.conversation.attempt

    with calling(daemon.socket) as caller:
        caller.attach(handle, {channel: len(had[channel]) for channel in OUTPUTS}, attempt)
        attached = caller.expect(Attached)
        caller.output = dict(had)
        assert caller.consume() is not None

    assert attached.status.attempt == attempt == 1
    assert len(had[Channel.STDOUT]) >= cut
    assert caller.output[Channel.STDOUT] == piece * 60
    assert Client().result(handle, timeout_s=60).stdout == piece * 60


def test_a_client_that_reads_nothing_delays_no_other(daemon: Daemon) -> None:
    """The job ends, and its output is kept, while its client does not read."""
    job = Submission.of(writing(bytes(60_000), times=60))
    with calling(daemon.socket) as caller:
        handle = caller.submit(job, PLENTY)
        caller.expect(Offered)
        caller.upload(job)
        caller.expect(Accepted)

        result = Client().result(handle, timeout_s=60)

        assert sha256(result.stdout) == result.receipt.stdout
        assert caller.consume() is not None
        assert caller.output[Channel.STDOUT] == result.stdout


def test_an_offset_beyond_the_end_is_an_error(daemon: Daemon) -> None:
    handle = Client().submit(HELLO.read_bytes(), stdin=b"abc")
    Client().wait(handle, timeout_s=60)

    with calling(daemon.socket) as caller:
        caller.attach(handle, {Channel.STDOUT: 4, Channel.STDERR: 0}, 1)
        error = caller.expect(Error)

    assert error.code == "protocol"
    assert "there is less of stdout" in error.message


def test_the_later_of_two_streams_with_one_submission_continues(daemon: Daemon) -> None:
    job = big()
    with calling(daemon.socket) as first, calling(daemon.socket) as second:
        first.submit(job)
        first.expect(Offered)
        first.upload(job, WINDOW + WINDOW // 2)
        handle = second.submit(job)
        offered = second.expect(Offered)
        error = first.expect(Error)
        second.upload(job)
        second.expect(Accepted)

    assert error.code == "superseded"
    assert offered.received.stdin >= WINDOW // 2
    assert Client().result(handle, timeout_s=60).stdout == STDIN[::-1]


def test_one_submission_sent_on_many_streams_at_once_is_one_job(daemon: Daemon) -> None:
    job = big()
    results: list[JobResult] = []

    def run() -> None:
        results.append(Client().run(attrs.evolve(job), timeout_s=100))

    team = [threading.Thread(target=run) for _ in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()

    assert len(results) == 4
    assert len({result.envelope.to_json() for result in results}) == 1
    assert {result.stdout for result in results} == {STDIN[::-1]}


def test_a_job_is_followed_by_several_at_once(daemon: Daemon) -> None:
    job = spinning()
    handle = Client().submit(job)
    with calling(daemon.socket) as one, calling(daemon.socket) as other:
        for caller in (one, other):
            caller.attach(handle, dict.fromkeys(OUTPUTS, 0), 0)
            caller.expect(Attached)
        ends = [caller.consume() for caller in (one, other)]

    assert ends[0] == ends[1]
    assert one.output == other.output
    assert one.output[Channel.STDOUT] == b"begun"


def test_states_are_reported_in_order(daemon: Daemon) -> None:
    job = spinning()
    with calling(daemon.socket) as caller:
        caller.submit(job)
        caller.expect(Offered)
        caller.upload(job)
        accepted = caller.expect(Accepted)
        told = [accepted.status.state]
        while told[-1] not in ("RUNNING", "EXECUTOR_ERROR"):
            told.append(caller.expect(State).status.state)

    order = ["QUEUED", "INITIALIZING", "RUNNING"]
    assert [state for state in order if state in told] == list(dict.fromkeys(told))


def test_a_client_waits_for_its_daemon_to_come_back(daemon: Daemon) -> None:
    """A restart may take longer than a start: what the client waits for is the daemon that it has known."""
    client = Client()
    handle = client.submit(HELLO.read_bytes(), stdin=b"abc")
    client.wait(handle, timeout_s=60)
    daemon.kill()
    gone = threading.Event()
    answers: list[object] = []

    def ask() -> None:
        gone.set()
        answers.append(client.status(handle, timeout_s=60).state)
        answers.append(client.run(HELLO.read_bytes(), stdin=b"abc", timeout_s=60).stdout)

    asking = threading.Thread(target=ask)
    asking.start()
    gone.wait()
    asking.join(starting.GRACE_S + 1)  # for longer than one waits for a daemon that nobody has seen
    daemon.start()
    asking.join(120)

    assert answers == ["COMPLETE", b"cba"]


def test_a_daemon_that_was_never_there_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(tmp_path / "nobody"))

    with pytest.raises(PeerUnreachableError, match="is not here"):
        Client().status(Handle.new("ab" * 32, PeerId(public_key=bytes(32))), timeout_s=60)
