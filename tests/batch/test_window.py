"""The window of jobs in flight at a node."""

from __future__ import annotations

from plasm_core.client.window import Window


def test_it_grows_by_each_answer_until_it_is_refused() -> None:
    window = Window(most=64)
    for _ in range(6):
        window.in_flight = int(window.limit)
        window.answered(0.1)

    assert window.limit == 8
    window.refused(now=10, retry_after_s=2)
    assert window.limit == 4
    assert not window.has_room(11.9)
    window.in_flight = 3
    assert window.has_room(12)
    window.in_flight = 4
    window.answered(0.1)
    assert 4 < window.limit < 5


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window(most=64, limit=10, in_flight=1)

    window.answered(0.1)

    assert window.limit == 10


def test_it_never_exceeds_what_the_node_takes() -> None:
    window = Window(most=3)
    for _ in range(10):
        window.in_flight = int(window.limit)
        window.answered(0.1)

    assert window.limit == 3


def test_each_failure_of_a_node_lengthens_its_pause() -> None:
    window = Window(most=8)
    window.failed(0)
    first = window.closed_until
    window.failed(0)

    assert 0 < first < window.closed_until
    assert window.limit == 1
    window.answered(0.1)
    assert window.failures == 0
