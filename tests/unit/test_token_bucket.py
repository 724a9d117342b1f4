"""The token bucket, on a clock of its own."""

from __future__ import annotations

from plasm_core.token_bucket import TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_available_tokens_are_spent() -> None:
    budget = TokenBucket(capacity=3, per_s=1, clock=Clock())

    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


def test_time_refills_it_up_to_its_capacity() -> None:
    clock = Clock()
    budget = TokenBucket(capacity=3, per_s=1, clock=clock)
    assert budget.spend(3)
    clock.now = 2.0
    assert budget.left == 2
    clock.now = 1000.0

    assert budget.left == 3


def test_tokens_never_exceed_the_capacity() -> None:
    """Otherwise a day's honest work would buy an hour's flood."""
    budget = TokenBucket(capacity=3, per_s=0, clock=Clock())
    budget.earn(1000)
    assert budget.left == 3
    assert budget.spend(2)
    budget.earn(1)

    assert budget.left == 2


def test_a_clock_read_late_refills_no_more_than_passed() -> None:
    clock = Clock()
    budget = TokenBucket(capacity=10, per_s=1, clock=clock)
    assert budget.spend(10)
    clock.now = 4.0
    assert not budget.spend(5)
    assert budget.spend(4)

    assert not budget.spend(1)
