"""Turns at compiling are fair between owners, regardless of who came first and with how much."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing

from plasm_core.daemon.scheduling.compile_turns import Turn, Turns
from plasm_core.daemon.scheduling.owners import Owner
from plasm_core.fair_shares import Holder

pytestmark = pytest.mark.trio


def owner(name: str, *, own: bool = False) -> Owner:
    return Owner(line=name, client=name, counted=(), holder=Holder(names=(name,), is_own=own))


HOG, OTHER, THIRD, USER = owner("hog"), owner("other"), owner("third"), owner("user", own=True)


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_owner_that_asks_for_many_turns_leaves_one_for_the_next() -> None:
    turns, had = Turns(2), []

    async def take(who: Owner) -> None:
        had.append((await turns.take(who)).owner)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(take, USER)
        await trio.testing.wait_all_tasks_blocked()
        assert had == [USER]
        nursery.start_soon(take, OTHER)
        await trio.testing.wait_all_tasks_blocked()
        assert had == [USER, OTHER]
        nursery.cancel_scope.cancel()


async def test_strangers_leave_a_turn_for_the_nodes_own_users() -> None:
    turns = Turns(3)
    for who in (HOG, OTHER):
        await turns.take(who)
    with trio.move_on_after(0.01):
        await turns.take(THIRD)
        pytest.fail("all turns are had by strangers")

    await turns.take(USER)

    assert len(turns) == 3


async def test_the_owner_with_least_processor_time_is_next() -> None:
    clock, order = Clock(), []
    turns = Turns(1, clock=clock)
    first = await turns.take(USER)
    turns.charge(HOG, 50)
    turns.charge(OTHER, 5)

    async def take(who: Owner) -> None:
        turn = await turns.take(who)
        order.append(who.line)
        turns.give_back(turn)

    async with trio.open_nursery() as nursery:
        for who in (HOG, HOG, OTHER, THIRD):
            nursery.start_soon(take, who)
            await trio.testing.wait_all_tasks_blocked()
        turns.give_back(first)

    assert order == ["third", "other", "hog", "hog"]
    clock.now = 6000
    assert turns._used_s("hog") < 0.1


async def test_a_wait_that_is_given_up_holds_up_nobody() -> None:
    turns = Turns(1)
    first = await turns.take(HOG)
    with trio.move_on_after(0.01):
        await turns.take(OTHER)

    turns.give_back(first)
    turns.give_back(first)

    second: Turn = await turns.take(THIRD)
    turns.give_back(second)
    assert (len(turns), turns._waiting) == (0, {})


async def test_what_is_remembered_of_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plasm_core.daemon.scheduling.compile_turns._MAX_OWNERS", 10)
    turns = Turns(1)

    for number in range(100):
        turns.charge(owner(f"fresh {number}"), 1)

    assert len(turns._spent) == 10
