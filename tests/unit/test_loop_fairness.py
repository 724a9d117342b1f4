"""Turns on the event loop, counted by passes and never by the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from plasm_core.loop_fairness import LoopTurns

pytestmark = pytest.mark.trio


@asynccontextmanager
async def running(turns: LoopTurns) -> AsyncIterator[LoopTurns]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked()
        yield turns
        nursery.cancel_scope.cancel()


async def test_a_pass_gives_out_no_more_than_its_share() -> None:
    """Ten tasks that each want half of a pass are served two by two."""
    served: list[int] = []
    async with running(LoopTurns(pass_s=1.0)) as turns, trio.open_nursery() as nursery:

        async def work(number: int) -> None:
            await turns.turn("group", number, 0.5)
            served.append(turns.passes)

        for number in range(10):
            nursery.start_soon(work, number)

    assert len(served) == 10
    # Those woken in one pass run in the next batch, before or after the next pass is given out.
    assert max(served.count(number) for number in served) <= 4
    assert served[-1] - served[0] >= 3


async def test_groups_take_turns_independently_of_their_connections() -> None:
    """A hundred connections of one network delay another network by one turn."""
    served: list[str] = []
    async with running(LoopTurns(pass_s=1.0)) as turns, trio.open_nursery() as nursery:
        turns.charge(2.0)  # this pass is used up

        async def work(group: str, owner: int) -> None:
            await turns.turn(group, owner, 2.0)
            served.append(group)

        for number in range(100):
            nursery.start_soon(work, "flood", number)
        while turns.waiting < 100 - len(served):
            await trio.lowlevel.checkpoint()
        before = len(served)
        nursery.start_soon(work, "honest", 0)

    assert served.index("honest") - before <= 3


async def test_owners_of_a_group_take_turns_independently_of_their_streams() -> None:
    served: list[str] = []
    async with running(LoopTurns(pass_s=1.0)) as turns, trio.open_nursery() as nursery:
        turns.charge(2.0)

        async def work(owner: str) -> None:
            await turns.turn("group", owner, 2.0)
            served.append(owner)

        for _ in range(100):
            nursery.start_soon(work, "flood")
        while turns.waiting < 100 - len(served):
            await trio.lowlevel.checkpoint()
        before = len(served)
        nursery.start_soon(work, "honest")

    assert served.index("honest") - before <= 3


async def test_a_task_that_never_waits_otherwise_leaves_others_their_passes() -> None:
    """The node's own task runs once per pass, independently of requests in between."""
    own = 0
    async with running(LoopTurns(pass_s=1.0)) as turns, trio.open_nursery() as nursery:

        async def flood() -> None:
            for _ in range(1000):
                await turns.turn("flood", "connection", 0.25)
            nursery.cancel_scope.cancel()

        async def work() -> None:
            nonlocal own
            while True:
                await trio.lowlevel.checkpoint()
                own += 1

        nursery.start_soon(flood)
        nursery.start_soon(work)

    assert own >= 200


async def test_a_cancelled_waiter_leaves_the_queue_and_the_others_are_served() -> None:
    served: list[str] = []
    async with running(LoopTurns(pass_s=1.0)) as turns, trio.open_nursery() as nursery:
        turns.charge(2.0)
        scope = trio.CancelScope()

        async def leave() -> None:
            with scope:
                await turns.turn("group", "left", 1.0)
                served.append("left")

        async def stay() -> None:
            await turns.turn("group", "stayed", 1.0)
            served.append("stayed")

        nursery.start_soon(leave)
        nursery.start_soon(stay)
        scope.cancel()

    assert "stayed" in served
    assert turns.waiting == 0


async def test_work_longer_than_announced_is_counted() -> None:
    async with running(LoopTurns(pass_s=1.0)) as turns:
        await turns.turn("group", "owner", 0.1)
        turns.charge(5.0)
        before = turns.passes
        await turns.turn("group", "owner", 0.1)

        assert turns.passes > before


async def test_nobody_waits_for_turns_that_nobody_gives_out() -> None:
    turns = LoopTurns(pass_s=1.0)
    for _ in range(10):
        await turns.turn("group", "owner", 5.0)

    assert turns.waiting == 0


async def test_waiters_continue_when_turns_end() -> None:
    """Closing a network does not hang on tasks that wait for its turns."""
    turns = LoopTurns(pass_s=1.0)
    async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
        inner.start_soon(turns.run)
        await trio.testing.wait_all_tasks_blocked()
        turns.charge(2.0)
        for number in range(5):
            nursery.start_soon(turns.turn, "group", number, 10.0)
        inner.cancel_scope.cancel()

    assert turns.waiting == 0
