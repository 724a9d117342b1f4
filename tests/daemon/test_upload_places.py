"""The places for uploads: who waits for one, and who gets it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from plasm_core.config import QueueLimits
from plasm_core.daemon.upload_places import UploadPlaces
from plasm_core.errors import RefusedError
from plasm_core.fair_shares import Holder

pytestmark = pytest.mark.trio

ALICE, BOB, CAROL = (Holder(names=(name,), is_own=True) for name in ("alice", "bob", "carol"))


def places(*, offers: int = 16, per_client: int = 2) -> UploadPlaces:
    return UploadPlaces(QueueLimits(offers=offers, offers_per_client=per_client))


async def take(made: UploadPlaces, holder: Holder, got: list[str] | None = None, note: str = "") -> None:
    """Take a place that nobody has to give up, and note it."""

    async def give_up(_name: str) -> None:
        raise AssertionError

    await made.take(holder, set[str], give_up)
    if got is not None:
        got.append(note or holder.names[0])


async def test_a_place_goes_to_a_waiting_upload_of_the_same_user_though_another_user_waits_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A place that Bob gives back is of no use to Alice, who has all that one user may have."""
    made, got = places(), list[str]()
    for holder in (ALICE, ALICE, BOB, BOB):
        await take(made, holder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, made, ALICE, got)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(take, made, BOB, got)
        await trio.testing.wait_all_tasks_blocked()
        made.give_back(BOB)
        await trio.testing.wait_all_tasks_blocked()
        after_one = list(got)
        made.give_back(ALICE)

    assert after_one == ["bob"]
    assert got == ["bob", "alice"]


async def test_the_upload_that_waits_longest_gets_the_place_before_later_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made, got = places(), list[str]()
    for _ in range(2):
        await take(made, ALICE)
    async with trio.open_nursery() as nursery:
        for note in ("first", "second"):
            nursery.start_soon(take, made, ALICE, got, note)
            await trio.testing.wait_all_tasks_blocked()
        made.give_back(ALICE)
        nursery.start_soon(take, made, ALICE, got, "late")
        await trio.testing.wait_all_tasks_blocked()
        made.give_back(ALICE)
        await trio.testing.wait_all_tasks_blocked()
        made.give_back(ALICE)

    assert got == ["first", "second", "late"]


async def test_a_place_is_given_up_for_the_client_that_asked_and_not_for_the_giver_that_waits(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Otherwise one upload after the other would be given up, each for the next in the giver's line."""
    made, got, given_up = places(offers=4, per_client=3), list[str](), list[str]()
    for holder in (ALICE, ALICE, ALICE):
        await take(made, holder)

    async def give_up(name: str) -> None:
        given_up.append(name)
        made.give_back(ALICE)
        await trio.sleep(0.1)  # as the removal of a large upload takes a moment

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, made, ALICE, got)
        await trio.testing.wait_all_tasks_blocked()
        await take(made, BOB)
        await made.take(CAROL, lambda: {"alice"}, give_up)
        given_up_for_carol = list(given_up)
        made.give_back(ALICE)

    assert given_up_for_carol == ["alice"]
    assert got == ["alice"]


async def test_a_place_that_comes_as_the_wait_is_cancelled_is_not_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = places()
    for _ in range(2):
        await take(made, ALICE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, made, ALICE)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        made.give_back(ALICE)
    began = trio.current_time()
    await take(made, ALICE)

    assert trio.current_time() == began
    with pytest.raises(RefusedError):
        await take(made, ALICE)


async def test_more_places_after_a_reload_are_for_those_that_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made, got = places(), list[str]()
    for _ in range(2):
        await take(made, ALICE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, made, ALICE, got)
        await trio.testing.wait_all_tasks_blocked()
        made.reconfigure(QueueLimits(offers=16, offers_per_client=3))

    assert got == ["alice"]


async def test_an_upload_that_gets_no_place_in_time_is_refused_and_leaves_the_line(
    autojump_clock: trio.testing.MockClock,
) -> None:
    made = places()
    for _ in range(2):
        await take(made, ALICE)
    began = trio.current_time()

    with pytest.raises(RefusedError):
        await take(made, ALICE)
    waited_s = trio.current_time() - began
    made.give_back(ALICE)
    await take(made, ALICE)

    assert waited_s == 2
