"""How long a client stays with a node, and when it takes another."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from plasm_core.client.async_client import AsyncClient
from plasm_core.client.connection import Link
from plasm_core.client.dial import Dialler
from plasm_core.client.failover import MAX_NODES, FailoverState, persist
from plasm_core.client.result_verification import Judge
from plasm_core.client.submission import Submission
from plasm_core.client.verified_run import QUEUE_S
from plasm_core.client.wait_limits import Bounds, share_after
from plasm_core.config import Config
from plasm_core.errors import (
    ConnectionLostError,
    NodeStalledError,
    PeerUnreachableError,
    ProtocolError,
    RefusedError,
    TransportError,
    WaitTimeoutError,
)
from plasm_core.records import PeerId

JOB = Submission.of(b"module")
PEERS = [PeerId(public_key=bytes([number]) * 32) for number in range(1, 4)]


class Nodes(Dialler):
    """Nodes that are there or are not; there is nothing to say to them."""

    def __init__(self, *there: PeerId, fails_over: bool = True) -> None:
        self.there = list(there)
        self.dialled: list[PeerId | None] = []
        self._fails_over = fails_over

    @property
    def fails_over(self) -> bool:
        return self._fails_over

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        self.dialled.append(peer)
        found = next((item for item in self.there if item not in avoid and peer in (None, item)), None)
        if found is None:
            raise PeerUnreachableError("nobody is there")
        yield None, found  # type: ignore[misc]


@pytest.mark.trio
async def test_a_node_that_was_there_until_now_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """However long it had been followed: what counts is how long it has been away."""
    nodes, choice = Nodes(PEERS[0], PEERS[1]), FailoverState(JOB)
    talks: list[tuple[float, PeerId]] = []

    async def once(_link: Link, peer: PeerId) -> PeerId:
        talks.append((trio.current_time(), peer))
        choice.node = peer
        if len(talks) == 1:
            await trio.sleep(3600)
            raise ConnectionLostError("it is gone")
        return peer

    assert await persist(nodes, choice, once, None, "the end") == PEERS[0]
    assert [peer for _, peer in talks] == [PEERS[0], PEERS[0]]


@pytest.mark.trio
async def test_a_node_that_stays_away_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    nodes, choice = Nodes(PEERS[0], PEERS[1]), FailoverState(JOB)

    async def once(_link: Link, peer: PeerId) -> PeerId:
        choice.node = peer
        if peer == PEERS[0]:
            nodes.there.remove(peer)
            raise ConnectionLostError("it is gone")
        return peer

    started = trio.current_time()

    assert await persist(nodes, choice, once, None, "the end") == PEERS[1]
    assert 15 <= trio.current_time() - started < 60


@pytest.mark.trio
async def test_a_lost_nodes_successor_is_looked_for_more_than_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After a node's death the others are found slowly: one search is not enough."""
    nodes, choice = Nodes(PEERS[0]), FailoverState(JOB)

    async def once(_link: Link, peer: PeerId) -> PeerId:
        choice.node = peer
        if peer == PEERS[0]:
            nodes.there.remove(peer)
            raise ConnectionLostError("it is gone")
        return peer

    async def appear() -> None:
        while nodes.dialled.count(None) < 4:  # noqa: ASYNC110 - the fake tells nobody
            await trio.sleep(0.01)
        nodes.there.append(PEERS[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(appear)
        assert await persist(nodes, choice, once, None, "the end") == PEERS[1]


@pytest.mark.trio
async def test_the_wait_for_a_node_restarts_when_none_is_left_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A job was given up because silent nodes had used up its time and the first search had found no node."""
    nodes, choice = Nodes(), FailoverState(JOB, patience_s=10, waits=True)

    async def appear() -> None:
        await trio.sleep(5)
        nodes.there.append(PEERS[0])
        await trio.sleep(25)
        nodes.there.append(PEERS[1])

    async def once(_link: Link, peer: PeerId) -> PeerId:
        if peer == PEERS[0]:
            await trio.sleep(20)
            raise NodeStalledError("it says nothing")
        return peer

    async with trio.open_nursery() as nursery:
        nursery.start_soon(appear)
        assert await persist(nodes, choice, once, None, "the end") == PEERS[1]


@pytest.mark.trio
async def test_a_node_that_stalls_again_and_again_renews_no_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes, choice = Nodes(PEERS[0]), FailoverState(JOB, patience_s=10)

    async def once(_link: Link, _peer: PeerId) -> None:
        await trio.sleep(10)
        raise NodeStalledError("it says nothing")

    began = trio.current_time()
    with pytest.raises(NodeStalledError):
        await persist(nodes, choice, once, None, "the end")
    assert trio.current_time() - began < 60


@pytest.mark.trio
async def test_a_fixed_number_of_failures_ends_a_job(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Anybody can make a thousand keys, and must not be able to keep a client busy with each."""
    peers = [PeerId(public_key=bytes([number]) * 32) for number in range(1, 41)]
    nodes, asked = Nodes(*peers), []

    async def once(_link: Link, peer: PeerId) -> None:
        asked.append(peer)
        raise ProtocolError("not what the protocol says")

    with pytest.raises(ProtocolError):
        await persist(nodes, FailoverState(JOB), once, None, "the end")

    assert len(set(asked)) == len(asked) == MAX_NODES


@pytest.mark.trio
async def test_busy_nodes_do_not_count_as_failures(autojump_clock: trio.testing.MockClock) -> None:
    peers = [PeerId(public_key=bytes([number]) * 32) for number in range(1, 41)]
    nodes = Nodes(*peers)

    async def once(_link: Link, peer: PeerId) -> PeerId:
        if peer != peers[-1]:
            raise RefusedError("queue_full", "later", retry_after_s=5)
        return peer

    assert await persist(nodes, FailoverState(JOB), once, None, "the end") == peers[-1]


class Mute(Dialler):
    """A node that takes a connection and never says anything."""

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        await trio.sleep_forever()
        yield None, PEERS[0]


@pytest.mark.trio
async def test_a_run_ends_an_hour_after_its_wall_time_if_nobody_says_when(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client = AsyncClient(Mute(), Judge([], Config()))
    started = trio.current_time()

    with pytest.raises(WaitTimeoutError), trio.fail_after(10 * QUEUE_S):
        await client.run(JOB)

    assert trio.current_time() - started == pytest.approx(JOB.manifest.wall_time_s + QUEUE_S)


@pytest.mark.trio
async def test_nobody_is_looked_for_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    nodes, choice = Nodes(PEERS[0]), FailoverState(JOB)

    async def once(_link: Link, peer: PeerId) -> None:
        choice.node = peer
        nodes.there.clear()
        raise ConnectionLostError("it is gone")

    with pytest.raises(PeerUnreachableError), trio.fail_after(600):
        await persist(nodes, choice, once, None, "the end")


@pytest.mark.trio
async def test_a_refusal_moves_the_job_on_at_once_and_the_last_refusal_is_reported(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes = Nodes(*PEERS)

    async def once(_link: Link, peer: PeerId) -> None:
        raise RefusedError("policy", f"not for you {PEERS.index(peer)}")

    started = trio.current_time()
    with pytest.raises(RefusedError, match="not for you 2"):
        await persist(nodes, FailoverState(JOB), once, None, "the end")

    assert trio.current_time() == started
    assert len(nodes.dialled) == 4


@pytest.mark.trio
async def test_the_one_daemon_is_asked_again_while_that_may_help(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes, answers = Nodes(PEERS[0], fails_over=False), iter([7, 7, None])

    async def once(_link: Link, _peer: PeerId) -> str:
        wait_s = next(answers)
        if wait_s is not None:
            raise RefusedError("queue_full", "full", retry_after_s=wait_s)
        return "done"

    started = trio.current_time()

    assert await persist(nodes, FailoverState(JOB), once, None, "a place") == "done"
    assert trio.current_time() - started >= 14


@pytest.mark.trio
async def test_an_own_deadline_says_what_was_waited_for_and_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes, choice = Nodes(PEERS[0], fails_over=False), FailoverState(node=PEERS[0])

    async def once(_link: Link, _peer: PeerId) -> None:
        nodes.there.clear()
        raise ConnectionLostError("it is gone")

    with pytest.raises(WaitTimeoutError, match="after 30 s still waiting for the result: nobody is there"):
        await persist(nodes, choice, once, 30, "the result")


@pytest.mark.trio
async def test_a_daemon_that_never_was_there_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def once(_link: Link, _peer: PeerId) -> None:
        raise AssertionError

    with pytest.raises(PeerUnreachableError):
        await persist(Nodes(fails_over=False), FailoverState(), once, 30, "the result")


class Exhausted(Nodes):
    """A process that can open no more files: each dial fails for that reason, told by a chain of errors."""

    def __init__(self, number: int, *, fails_over: bool) -> None:
        super().__init__(fails_over=fails_over)
        self._number = number

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId | str] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        self.dialled.append(peer)
        try:
            raise OSError(self._number, os.strerror(self._number))
        except OSError as exc:
            raise PeerUnreachableError("no daemon answers") from exc
        yield None, PEERS[0]


@pytest.mark.parametrize("fails_over", [False, True])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_process_that_can_open_no_more_files_says_so_at_once(number: int, fails_over: bool) -> None:
    """Such a client waited for its whole deadline as if no node existed."""
    nodes = Exhausted(number, fails_over=fails_over)

    async def never(_link: Link, _peer: PeerId) -> None:
        raise AssertionError("nobody was reached")

    async def main() -> None:
        await persist(nodes, FailoverState(JOB), never, 60, "the job")

    with pytest.raises(TransportError, match="can open no more files") as caught:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert len(nodes.dialled) == 1
    assert "ulimit -n" in str(caught.value.hint)


def test_each_node_that_delays_a_job_shortens_the_wait_for_the_next() -> None:
    assert [share_after(delays) for delays in range(6)] == [1, 0.5, 0.25, 0.125, 0.125, 0.125]
    named = Bounds.of(JOB, replaceable=False, own=False, delays=5)
    assert named.share == 1


@pytest.mark.trio
async def test_many_nodes_that_accept_a_job_and_never_start_it_cost_little_more_than_two(
    autojump_clock: trio.testing.MockClock,
) -> None:
    idle = [PeerId(public_key=bytes([number]) * 32) for number in range(10, 17)]
    nodes, choice = Nodes(*idle, PEERS[0]), FailoverState(JOB)

    async def once(_link: Link, peer: PeerId) -> PeerId:
        if peer in idle:
            bounds = Bounds.of(JOB, replaceable=True, own=False, delays=choice.delays)
            bounds.accepted()
            await trio.sleep_until(bounds.until(0))
            raise NodeStalledError("it has not started the job")
        return peer

    began = trio.current_time()
    assert await persist(nodes, choice, once, None, "the end") == PEERS[0]
    assert trio.current_time() - began == pytest.approx(30 + 15 + 7.5 + 4 * 3.75)


@pytest.mark.trio
async def test_many_nodes_that_leave_with_a_job_cost_little_more_than_two(
    autojump_clock: trio.testing.MockClock,
) -> None:
    leaving = [PeerId(public_key=bytes([number]) * 32) for number in range(10, 17)]
    nodes, choice = Nodes(*leaving, PEERS[0]), FailoverState(JOB)

    async def once(_link: Link, peer: PeerId) -> PeerId:
        choice.node = peer
        if peer in leaving:
            nodes.there.remove(peer)
            raise ConnectionLostError("it is gone")
        return peer

    began = trio.current_time()
    assert await persist(nodes, choice, once, None, "the end") == PEERS[0]
    # Each wait ends with the pause in which it was over, which has at most 10 s.
    assert trio.current_time() - began < 7 * 15 * 0.7


@pytest.mark.trio
async def test_nodes_that_may_be_busy_have_their_whole_time_when_a_job_returns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes, choice, waited = Nodes(*PEERS[:2]), FailoverState(JOB, patience_s=100), []

    async def once(_link: Link, peer: PeerId) -> PeerId:
        bounds = Bounds.of(JOB, replaceable=True, own=False, delays=choice.delays)
        bounds.accepted()
        waited.append(bounds.until(0) - trio.current_time())
        if len(waited) == 3:
            return peer
        raise NodeStalledError("it has not started the job")

    await persist(nodes, choice, once, None, "the end")

    assert waited == pytest.approx([30, 15, 30])
