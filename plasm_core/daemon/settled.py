"""Calling the store from the loop: in a thread where that may wait for the disk, and without one where it does not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import trio

from plasm_core.daemon.wakes import wakes

T = TypeVar("T")


async def settled(future: Future[T]) -> T:
    """Return a future's result when it is done, without another thread.

    Not cancelled: the store completes the change.

    Raises: the future's exception.
    """
    if not future.done():
        found = wakes()
        resume = functools.partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())

        def abort(_: Any) -> trio.lowlevel.Abort:
            return trio.lowlevel.Abort.FAILED

        future.add_done_callback(lambda _: found.add(resume))
        await trio.lowlevel.wait_task_rescheduled(abort)
    return future.result()


async def in_thread_if(condition: bool, work: Callable[..., T], *arguments: object) -> T:
    """Call a function that waits for the disk: in a thread if the condition holds, else directly, which is faster."""
    if condition:
        return await trio.to_thread.run_sync(work, *arguments)
    return work(*arguments)
