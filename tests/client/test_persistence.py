"""How long a client stays with a node, and when it takes another."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from plasm_core.client.dialling import Dialler
from plasm_core.client.link import Link
from plasm_core.client.persistence import Choice, persist
from plasm_core.client.submission import Submission
from plasm_core.errors import (
    ConnectionLostError,
    PeerUnreachableError,
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
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
    ) -> AsyncIterator[tuple[Link, PeerId]]:
        self.dialled.append(peer)
        found = next((item for item in self.there if item not in avoid and peer in (None, item)), None)
        if found is None:
            raise PeerUnreachableError("nobody is there")
        yield None, found  # type: ignore[misc]


@pytest.mark.trio
async def test_a_node_that_was_there_until_now_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """However long it had been followed: what counts is how long it has been away."""
    nodes, choice = Nodes(PEERS[0], PEERS[1]), Choice(JOB)
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
    nodes, choice = Nodes(PEERS[0], PEERS[1]), Choice(JOB)

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
    """Where a node has just died the others are slow to be found: one look is not enough."""
    nodes, choice = Nodes(PEERS[0]), Choice(JOB)

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
async def test_nobody_is_looked_for_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    nodes, choice = Nodes(PEERS[0]), Choice(JOB)

    async def once(_link: Link, peer: PeerId) -> None:
        choice.node = peer
        nodes.there.clear()
        raise ConnectionLostError("it is gone")

    with pytest.raises(PeerUnreachableError), trio.fail_after(600):
        await persist(nodes, choice, once, None, "the end")


@pytest.mark.trio
async def test_a_refusal_is_passed_on_at_once_and_the_last_one_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes = Nodes(*PEERS)

    async def once(_link: Link, peer: PeerId) -> None:
        raise RefusedError("policy", f"not for you {PEERS.index(peer)}")

    started = trio.current_time()
    with pytest.raises(RefusedError, match="not for you 2"):
        await persist(nodes, Choice(JOB), once, None, "the end")

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

    assert await persist(nodes, Choice(JOB), once, None, "a place") == "done"
    assert trio.current_time() - started >= 14


@pytest.mark.trio
async def test_an_own_deadline_says_what_was_waited_for_and_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nodes, choice = Nodes(PEERS[0], fails_over=False), Choice(node=PEERS[0])

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
        await persist(Nodes(fails_over=False), Choice(), once, 30, "the result")


class Exhausted(Nodes):
    """A process that can open no more files: each dial fails for that reason, told by a chain of errors."""

    def __init__(self, number: int, *, fails_over: bool) -> None:
        super().__init__(fails_over=fails_over)
        self._number = number

    @asynccontextmanager
    async def converse(
        self, peer: PeerId | None, *, job: Submission | None = None, avoid: Collection[PeerId] = ()
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
    """It waited for the whole deadline, as if nobody were there."""
    nodes = Exhausted(number, fails_over=fails_over)

    async def never(_link: Link, _peer: PeerId) -> None:
        raise AssertionError("nobody was reached")

    async def main() -> None:
        await persist(nodes, Choice(JOB), never, 60, "the job")

    with pytest.raises(TransportError, match="can open no more files") as caught:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert len(nodes.dialled) == 1
    assert "ulimit -n" in str(caught.value.hint)
