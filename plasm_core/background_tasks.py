"""Background tasks that run while a block of code runs; errors are not wrapped in exception groups."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

if sys.version_info < (3, 11):  # pragma: no cover
    from exceptiongroup import BaseExceptionGroup


@asynccontextmanager
async def alongside(*tasks: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run tasks until the block ends, then cancel them. An error of the block is raised unwrapped.

    An error of a task ends the block and is raised unwrapped, too; of several errors, the first.
    """
    error: BaseException | None = None

    async with trio.open_nursery() as nursery:

        async def run(task: Callable[[], Awaitable[object]]) -> None:
            nonlocal error
            try:
                await task()
            except Exception as exc:
                error = error or exc
                nursery.cancel_scope.cancel()

        for task in tasks:
            nursery.start_soon(run, task)
        try:
            yield
        except trio.Cancelled:
            raise
        except BaseException as exc:
            error = error or exc
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


@contextmanager
def sole() -> Iterator[None]:
    """Raise the first error of an exception group instead of the group, for one message to the user."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
