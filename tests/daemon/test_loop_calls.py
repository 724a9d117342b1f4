"""Calls from threads into the daemon's loop: none is lost, none overtakes another, and few wake the loop."""

from __future__ import annotations

import functools
import threading
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from plasm_core.daemon.gathered_calls import WITHIN_S, GatheredCalls
from plasm_core.daemon.run_threads import RunThreads
from plasm_core.daemon.wakes import wakes

DEADLINE_S = 20


def in_a_loop(autojump: bool = False) -> Callable[[Callable[[], Awaitable[None]]], Callable[[], None]]:
    """Run a test in an event loop. `autojump`: with a clock that jumps to what is waited for."""

    def decorate(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        @functools.wraps(test)
        def wrapped() -> None:
            trio.run(test, clock=MockClock(autojump_threshold=0) if autojump else None)

        return wrapped

    return decorate


def in_a_thread(work: Callable[[], object]) -> None:
    """Run a function in a thread to its end, while the loop stands still."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


@in_a_loop()
async def test_calls_that_come_while_the_loop_is_busy_are_made_in_their_order() -> None:
    made: list[int] = []
    found = wakes()

    def add() -> None:
        for number in range(100):
            found.add(functools.partial(made.append, number))

    in_a_thread(add)

    assert made == []
    with trio.fail_after(DEADLINE_S):
        while len(made) < 100:
            await trio.lowlevel.checkpoint()
    assert made == list(range(100))


@in_a_loop()
async def test_a_call_that_a_call_adds_is_made() -> None:
    done = trio.Event()
    found = wakes()

    in_a_thread(lambda: found.add(lambda: found.add(done.set)))

    with trio.fail_after(DEADLINE_S):
        await done.wait()


@in_a_loop()
async def test_a_loop_has_one_of_them() -> None:
    assert wakes() is wakes()


def test_a_call_after_the_end_of_the_loop_is_not_made() -> None:
    """A job that is left at the daemon's end may end later."""

    async def main() -> object:
        return wakes()

    found = trio.run(main)

    in_a_thread(lambda: found.add(lambda: pytest.fail("called")))  # type: ignore[attr-defined]


@in_a_loop(autojump=True)
async def test_gathered_calls_are_made_late_and_in_their_order() -> None:
    made: list[int] = []
    async with trio.open_nursery() as nursery:
        calls = GatheredCalls(trio.lowlevel.current_trio_token())
        nursery.start_soon(calls.run)
        for number in range(10):
            calls.add(functools.partial(made.append, number))
        await trio.sleep(WITHIN_S / 2)
        assert made == []
        await trio.sleep(WITHIN_S)
        assert made == list(range(10))
        nursery.cancel_scope.cancel()


@in_a_loop(autojump=True)
async def test_gathered_calls_are_made_after_a_long_silence() -> None:
    """The task sleeps then, and has to be woken."""
    made: list[int] = []
    async with trio.open_nursery() as nursery:
        calls = GatheredCalls(trio.lowlevel.current_trio_token())
        nursery.start_soon(calls.run)
        for number in range(3):
            await trio.sleep(100)
            calls.add(functools.partial(made.append, number))
            await trio.sleep(2 * WITHIN_S)
            assert made == list(range(number + 1))
        nursery.cancel_scope.cancel()


@in_a_loop()
async def test_gathered_calls_can_be_made_at_once() -> None:
    """What follows in the loop is not overtaken by them."""
    made: list[int] = []
    calls = GatheredCalls(trio.lowlevel.current_trio_token())
    in_a_thread(lambda: calls.add(lambda: made.append(1)))

    calls.make()

    assert made == [1]


@in_a_loop()
async def test_a_run_gives_its_result_or_its_error() -> None:
    threads = RunThreads()

    def fail() -> None:
        raise ValueError("of the run")

    with trio.fail_after(DEADLINE_S):
        assert await threads.run(lambda: 7) == 7
        with pytest.raises(ValueError, match="of the run"):
            await threads.run(fail)


@in_a_loop()
async def test_runs_one_after_the_other_share_a_thread() -> None:
    threads = RunThreads()
    with trio.fail_after(DEADLINE_S):
        used = {await threads.run(threading.get_ident) for _ in range(5)}

    assert len(used) == 1


@in_a_loop()
async def test_runs_beside_one_another_have_threads_of_their_own() -> None:
    """One that waits for its guest must not hold up another."""
    threads, met = RunThreads(), threading.Barrier(3)
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(threads.run, lambda: met.wait(DEADLINE_S))

    assert not met.broken


@in_a_loop()
async def test_a_run_that_is_left_goes_on_and_its_thread_serves_the_next() -> None:
    threads, go_on = RunThreads(), threading.Event()
    idents: list[int] = []

    def work() -> None:
        idents.append(threading.get_ident())
        assert go_on.wait(DEADLINE_S)

    with trio.move_on_after(0.01) as scope:
        await threads.run(work)
    assert scope.cancelled_caught
    go_on.set()
    with trio.fail_after(DEADLINE_S):
        while await threads.run(threading.get_ident) != idents[0]:
            await trio.lowlevel.checkpoint()
