"""Shares: who gets how much of what there is a fixed amount of, and who gives first."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from plasm_core.fair_shares import NOBODY, Holder, Loan, Places, Room, Shares

STRANGERS = [Holder(names=(f"peer {number}", f"group {number}")) for number in range(8)]
USERS = [Holder(names=(f"user {number}",), is_own=True) for number in range(3)]
OPERATOR = Holder(names=("user operator",), is_own=True, is_bounded=False)


def fill(shares: Shares, holder: Holder) -> int:
    """Take one after the other while there is room."""
    taken = 0
    while shares.take(holder) is Room.FREE:
        taken += 1
    return taken


def test_each_new_owner_finds_a_part_of_what_cannot_be_reclaimed() -> None:
    shares = Shares(1024)

    taken = [fill(shares, holder) for holder in STRANGERS]

    assert taken[0] == 512
    assert all(after <= before for before, after in itertools.pairwise(taken))
    assert all(taken)


def test_a_fresh_key_gets_no_second_share() -> None:
    shares = Shares(1024)
    fill(shares, STRANGERS[0])

    fresh = Holder(names=("another peer", "group 0"))

    assert shares.take(fresh) is Room.SHARE_USED
    assert shares.take(STRANGERS[1]) is Room.FREE


def test_the_same_key_from_elsewhere_gets_no_second_share() -> None:
    shares = Shares(1024)
    fill(shares, STRANGERS[0])

    assert shares.take(Holder(names=("peer 0", "another group"))) is Room.SHARE_USED


def test_strangers_never_get_the_part_reserved_for_the_nodes_own_users() -> None:
    shares = Shares(100, kept=20, is_lent=True)

    strangers = sum(fill(shares, holder) for holder in STRANGERS)

    assert 60 <= strangers <= 80
    assert fill(shares, USERS[0]) == 100 - strangers


def test_the_reserve_shrinks_by_what_own_users_hold() -> None:
    shares = Shares(100, kept=20, is_lent=True)
    for _ in range(20):
        shares.take(USERS[0])

    shares.take(STRANGERS[0], 79)

    assert shares.take(STRANGERS[1]) is Room.FREE
    assert shares.take(STRANGERS[1]) is Room.FULL


def test_an_own_user_leaves_something_for_the_next_and_the_operator_need_not() -> None:
    shares = Shares(1000)

    first, second = fill(shares, USERS[0]), fill(shares, USERS[1])

    assert first == 800
    assert second > 0
    assert fill(shares, OPERATOR) == 1000 - first - second
    assert shares.take(USERS[2]) is Room.FULL


def test_an_owner_that_holds_nothing_may_take_what_fits() -> None:
    shares = Shares(100)

    assert shares.take(STRANGERS[0], 100) is Room.FREE
    assert shares.take(STRANGERS[1], 1) is Room.FULL


def test_the_largest_holder_gives_first() -> None:
    shares = Shares(10, is_lent=True)
    for holder, count in ((STRANGERS[0], 3), (STRANGERS[1], 5), (USERS[0], 2)):
        shares.take(holder, count, force=True)

    assert shares.take(STRANGERS[2]) is Room.FULL
    name = shares.giver(STRANGERS[2])

    assert name in STRANGERS[1].names
    shares.give_back(STRANGERS[1])
    assert shares.take(STRANGERS[2]) is Room.FREE


def test_nobody_gives_to_one_that_has_as_much() -> None:
    shares = Shares(10, is_lent=True)
    for holder in STRANGERS[:2]:
        shares.take(holder, 5, force=True)

    assert shares.giver(STRANGERS[0]) is None
    assert shares.giver(STRANGERS[2]) is not None


def test_two_that_hold_one_each_do_not_push_each_other_out() -> None:
    shares = Shares(1, is_lent=True)
    shares.take(STRANGERS[0])

    assert shares.giver(STRANGERS[1]) is None


def test_the_operator_gives_what_can_be_taken_back_too() -> None:
    """No client is refused a place because the operator's own programs hold all of them."""
    shares = Shares(10, is_lent=True)
    shares.take(OPERATOR, 10)

    assert shares.giver(STRANGERS[0]) in OPERATOR.names


def test_only_those_are_chosen_from_that_have_something_to_give() -> None:
    shares = Shares(10, is_lent=True)
    shares.take(STRANGERS[0], 7, force=True)
    shares.take(STRANGERS[1], 3, force=True)

    assert shares.giver(STRANGERS[2], among=STRANGERS[1].names) in STRANGERS[1].names
    assert shares.giver(STRANGERS[2], among=()) is None


def test_a_limit_for_each_name_holds_while_there_is_room() -> None:
    shares = Shares(100, per_name=8, is_lent=True)

    assert fill(shares, STRANGERS[0]) == 8
    assert shares.room(STRANGERS[0]) is Room.SHARE_USED


def test_data_from_before_the_start_counts_for_no_owner() -> None:
    shares = Shares(10)
    shares.take(NOBODY, 12, force=True)

    assert (shares.used, shares.held(NOBODY)) == (12, 0)
    assert shares.take(STRANGERS[0]) is Room.FULL
    shares.give_back(NOBODY, 12)
    assert shares.used == 0


@pytest.mark.parametrize("holder", [STRANGERS[0], USERS[0], OPERATOR, NOBODY])
def test_all_that_is_given_back_is_forgotten(holder: Holder) -> None:
    """Names are free: what is remembered of them must not grow."""
    shares = Shares(10)
    shares.take(holder, 3)
    shares.give_back(holder, 3)

    assert not shares._held
    assert shares.used == shares._own == 0


def test_threads_never_take_more_than_there_is() -> None:
    shares, taken = Shares(1000, is_lent=True), []
    threads = [
        threading.Thread(target=lambda holder=holder: taken.append(fill(shares, holder)))
        for holder in [*USERS, OPERATOR]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(taken) == shares.used == 1000


def test_the_newest_place_of_the_largest_holder_is_called_in() -> None:
    ended: list[int] = []
    places = Places(10)

    def ending(number: int) -> Callable[[], None]:
        return lambda: ended.append(number)

    loans: list[Loan | None] = [places.take(USERS[0], ending(number)) for number in range(10)]
    assert all(loans)

    for holder in (USERS[1], STRANGERS[0], STRANGERS[1]):
        assert places.take(holder, ending(-1)) is not None

    assert ended == [9, 8, 7]
    assert len(places) == 10


def test_places_are_not_called_in_for_one_that_has_as_many() -> None:
    places, ended = Places(4), []
    for holder in (USERS[0], USERS[1]) * 2:
        assert places.take(holder, lambda: ended.append(0))

    assert places.take(USERS[0], lambda: None) is None
    assert ended == []


def test_a_place_is_given_back_once() -> None:
    places = Places(1)
    loan = places.take(USERS[0], lambda: None)
    assert loan is not None
    loan.give_back()
    loan.give_back()

    assert len(places) == 0
    assert places.take(USERS[1], lambda: None) is not None
