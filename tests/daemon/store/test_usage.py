"""What clients have used is kept, replaced, and forgotten when it has grown back."""

from __future__ import annotations

from pathlib import Path

import attrs

from plasm_core.daemon.store import Store, Use
from tests.daemon.store.submission import LIMITS, Clock

PER_HOUR = {"cpu_s": 100.0, "upload_bytes": 1000.0}


def use(clock: Clock, name: str = "a", *, remaining: float | None, resource: str = "cpu_s") -> Use:
    return Use(name=name, resource=resource, remaining=remaining, at_s=clock.now.timestamp())


def test_uses_are_there_after_a_restart_the_longest_unchanged_first(state: Path, clock: Clock) -> None:
    first = use(clock, "b", remaining=-50.5)
    clock.advance(1)
    second = use(clock, "a", remaining=50, resource="upload_bytes")
    with Store(state, LIMITS, clock=clock) as store:
        store.usage.keep([second, first])

    with Store(state, LIMITS, clock=clock) as store:
        assert store.usage.all() == [first, second]


def test_a_use_replaces_the_earlier_one_and_whole_entries_are_deleted(store: Store, clock: Clock) -> None:
    both = [use(clock, remaining=50), use(clock, remaining=60, resource="upload_bytes")]
    store.usage.keep(both)

    store.usage.keep([attrs.evolve(both[0], remaining=40), attrs.evolve(both[1], remaining=None)])

    assert store.usage.all() == [attrs.evolve(both[0], remaining=40)]


def test_a_refilled_allowance_is_forgotten(store: Store, clock: Clock) -> None:
    store.usage.keep(
        [
            use(clock, "small", remaining=60),
            use(clock, "large", remaining=-60),
            use(clock, "small", remaining=600, resource="upload_bytes"),
            use(clock, "large", remaining=500, resource="upload_bytes"),
        ]
    )
    clock.advance(0.45 * 3600)

    assert store.usage.forget(PER_HOUR, clock.now) == 2
    assert {use.name for use in store.usage.all()} == {"large"}
    clock.advance(1.2 * 3600)
    assert store.usage.forget(PER_HOUR, clock.now) == 2
    assert store.usage.all() == []


def test_a_share_without_a_limit_is_forgotten(store: Store, clock: Clock) -> None:
    store.usage.keep([use(clock, remaining=0.0)])

    assert store.usage.forget({"cpu_s": 0.0}, clock.now) == 1
