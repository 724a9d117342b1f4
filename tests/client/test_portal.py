"""The loop that a blocking client keeps between its calls."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
import trio

from plasm_core.client.portal import Portal
from plasm_core.errors import ConfigError, PlasmError

DEADLINE_S = 20


class Resources:
    """Counts what is open."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = threading.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Open another one."""
        self.opened += 1
        self.closed.clear()
        try:
            yield self.opened
        finally:
            self.closed.set()


async def number_of(resource: int) -> int:
    """Return which resource it is."""
    await trio.lowlevel.checkpoint()
    return resource


def test_all_calls_of_all_threads_share_what_is_open() -> None:
    resources = Resources()
    portal = Portal(resources.open)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: portal.call(number_of), range(64)))
    portal.close()

    assert found == [1] * 64
    assert resources.closed.is_set()


def test_calls_are_made_at_the_same_time() -> None:
    portal = Portal(Resources().open)
    met = trio.Event(), trio.Event()

    async def meet(mine: int) -> None:
        met[mine].set()
        await met[1 - mine].wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda mine: portal.call(lambda _: meet(mine)), range(2), timeout=DEADLINE_S))
    portal.close()


def test_an_error_is_raised_as_it_is() -> None:
    portal = Portal(Resources().open)

    async def fail(_: int) -> None:
        async with trio.open_nursery():
            raise KeyError("absent")

    with pytest.raises(KeyError, match="absent"):
        portal.call(fail)

    assert portal.call(number_of) == 1
    portal.close()


def test_a_failed_opening_is_tried_again_by_the_next_call() -> None:
    problems = [ConfigError("no such transport")]

    @asynccontextmanager
    async def open_once_mended() -> AsyncIterator[int]:
        if problems:
            raise problems.pop()
        yield 1

    portal = Portal(open_once_mended)

    with pytest.raises(ConfigError, match="no such transport"):
        portal.call(number_of)
    assert portal.call(number_of) == 1
    portal.close()


def test_a_portal_that_breaks_ends_its_calls_and_is_opened_again() -> None:
    resources = Resources()
    broken = trio.Event()

    @asynccontextmanager
    async def fragile() -> AsyncIterator[int]:
        async with resources.open() as opened, trio.open_nursery() as nursery:

            async def break_it() -> None:
                await broken.wait()
                raise OSError("the network is gone")

            if opened == 1:
                nursery.start_soon(break_it)
            yield opened
            nursery.cancel_scope.cancel()

    portal = Portal(fragile)

    async def wait(_: int) -> None:
        broken.set()
        await trio.sleep_forever()

    with pytest.raises(PlasmError, match="closed"):
        portal.call(wait)
    assert resources.closed.wait(DEADLINE_S)

    assert portal.call(number_of) == 2
    portal.close()


def test_a_call_that_comes_while_a_broken_portal_closes_opens_it_again() -> None:
    """Its loop cannot begin a call any more: it ended with an error, and no call that had come ever did."""
    broken, closing, go_on = threading.Event(), threading.Event(), threading.Event()
    opened = list[int]()

    @asynccontextmanager
    async def fragile() -> AsyncIterator[int]:
        opened.append(len(opened) + 1)

        async def break_it() -> None:
            await trio.to_thread.run_sync(broken.wait, DEADLINE_S)
            raise OSError("the network is gone")

        async with trio.open_nursery() as nursery:
            if opened == [1]:
                nursery.start_soon(break_it)
            try:
                yield opened[-1]
            finally:
                if broken.is_set() and not closing.is_set():
                    closing.set()
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(go_on.wait, DEADLINE_S)
            nursery.cancel_scope.cancel()

    async def wait(_: int) -> None:
        broken.set()
        await trio.sleep_forever()

    portal = Portal(fragile)
    with pytest.raises(PlasmError, match="closed"):
        portal.call(wait)
    assert closing.wait(DEADLINE_S)
    found = queue.Queue[int]()
    threading.Thread(target=lambda: found.put(portal.call(number_of)), daemon=True).start()
    try:
        assert found.get(timeout=DEADLINE_S) == 2
    finally:
        go_on.set()
    portal.close()


def test_closing_ends_the_calls_of_others() -> None:
    resources, began = Resources(), threading.Event()
    portal = Portal(resources.open)

    async def wait(_: int) -> None:
        began.set()
        await trio.sleep_forever()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(portal.call, wait)
        assert began.wait(DEADLINE_S)
        portal.close()

        with pytest.raises(PlasmError, match="closed"):
            waiting.result(DEADLINE_S)
    assert resources.closed.is_set()
    assert portal.call(number_of) == 2
    portal.close()


def test_an_interrupt_ends_the_call_before_it_is_raised() -> None:
    portal, ended = Portal(Resources().open), threading.Event()

    async def be_interrupted(_: int) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        portal.call(be_interrupted)

    assert ended.is_set()
    assert portal.call(number_of) == 1
    portal.close()


def test_one_that_nobody_has_any_more_is_closed() -> None:
    resources = Resources()

    Portal(resources.open).call(number_of)

    assert resources.closed.wait(DEADLINE_S)


_SCRIPT = """
import os, sys
from contextlib import asynccontextmanager
from plasm_core.client.portal import Portal

@asynccontextmanager
async def resource():
    try:
        yield os.getpid()
    finally:
        print("closed", flush=True)

async def who(opened):
    return opened

portal = Portal(resource)
assert portal.call(who) == os.getpid()
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        print(portal.call(who) == os.getpid(), flush=True)
        portal.close()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("arguments", "said"), [((), "closed\n"), (("fork",), "True\nclosed\nclosed\n")])
def test_the_end_of_the_process_closes_it_and_a_child_has_its_own(
    arguments: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert (done.stdout, done.stderr) == (said, "")
