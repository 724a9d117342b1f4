"""A portal into a trio loop in its own thread, for blocking callers.

The loop and its resource stay open between calls.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, cast

import trio

from plasm_core.background_tasks import sole
from plasm_core.errors import PlasmError

T = TypeVar("T")
R = TypeVar("R")

_DRAIN_S = 0.05
_EXIT_S = 5.0
"""How long the end of the process waits for the loop: what is open is closed in that time, or cut off."""


class _Ended(Generic[T]):
    """The end of a call, for which one thread waits: a lock, where a future would have a condition and its locks."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._found: T
        self.is_over = False
        self._running = threading.Lock()
        self._running.acquire()

    def succeed(self, found: T) -> None:
        """End the call with a result."""
        self._found = found
        self._end()

    def fail(self, error: BaseException) -> None:
        """End the call with an error."""
        self._error = error
        self._end()

    def _end(self) -> None:
        self.is_over = True
        self._running.release()

    def wait(self) -> None:
        """Wait for the end."""
        with self._running:
            pass

    def result(self) -> T:
        """Wait for the end, and return the result. Raises: the error."""
        self.wait()
        error, self._error = self._error, None
        if error is None:
            return self._found
        try:
            raise error
        finally:
            del error  # its traceback would refer to it


class _Loop(Generic[R]):
    """One loop in one thread, with one resource open in it."""

    def __init__(self, resource: Callable[[], AbstractAsyncContextManager[R]]) -> None:
        """Start it, and wait until the resource is open. Raises: what opening it raises."""
        self.process = os.getpid()
        self._resource = resource
        self._opened: Future[None] = Future()
        self._calls: trio.Nursery
        self._opened_resource: R
        self._token: trio.lowlevel.TrioToken
        self._stopping: trio.Event
        self._beginning: collections.deque[Callable[[], None]] = collections.deque()
        self._is_woken = False
        # A daemon thread: at exit the interpreter joins all others before it calls the function that ends this one.
        self._thread = threading.Thread(target=self._run, name="plasm-client", daemon=True)
        self._thread.start()
        try:
            self._opened.result()
        except BaseException:  # interrupted, or the opening failed
            self.stop()
            raise

    @property
    def is_running(self) -> bool:
        """Whether calls can be made: not in a child that was forked, nor after the resource has failed."""
        return self.process == os.getpid() and self._thread.is_alive() and not self._stopping.is_set()

    def call(self, work: Callable[[R], Awaitable[T]]) -> T:
        """Run a function with the resource in the loop, and wait for its result.

        An interrupt cancels it, and is raised when it has ended.

        Raises: what the function raises; `PlasmError` if the loop ends meanwhile.
        """
        done: _Ended[T] = _Ended()
        scope = trio.CancelScope()
        is_started = False

        async def run() -> None:
            try:
                with scope:
                    found = await work(self._opened_resource)
                if scope.cancelled_caught:
                    raise PlasmError("the client was closed")
            except trio.Cancelled:
                done.fail(PlasmError("the client was closed"))
                raise
            except BaseException as exc:
                done.fail(exc)
            else:
                done.succeed(found)

        def start() -> None:
            nonlocal is_started
            is_started = True
            if self._stopping.is_set():
                done.fail(PlasmError("the client was closed"))
            else:
                self._calls.start_soon(run)

        def give_up() -> None:
            self._begin_all()  # the interrupt may have come before the wake-up of this call
            scope.cancel()
            if not is_started:
                done.fail(PlasmError("the call was interrupted"))

        try:
            self._begin(start)
            with sole():
                return done.result()
        except trio.RunFinishedError:
            raise PlasmError("the client was closed") from None
        except BaseException:
            if not done.is_over:  # the caller was interrupted after it began to pass the work to the loop
                self._in_loop(give_up)
                done.wait()
            raise

    def stop(self) -> None:
        """Have it end, without waiting for that."""
        if self.process == os.getpid():
            self._in_loop(lambda: self._stopping.set())

    def join(self, patience_s: float | None = None) -> None:
        """Wait until it has ended. Returns at once in its own thread, which may be the one that collects garbage."""
        if self.process == os.getpid() and threading.current_thread() is not self._thread:
            self._thread.join(patience_s)

    def _begin(self, start: Callable[[], None]) -> None:
        """Have the loop call `start`. One wake-up is enough for all the calls that come before the loop runs.

        Raises: `trio.RunFinishedError`.
        """
        self._beginning.append(start)
        if not self._is_woken:
            self._is_woken = True
            try:
                self._token.run_sync_soon(self._begin_all)
            except trio.RunFinishedError:
                self._begin_all()  # those who relied on this wake-up get the same error
                raise

    def _begin_all(self) -> None:
        self._is_woken = False  # first: a call that comes from now on wakes the loop again
        while True:
            try:
                start = self._beginning.popleft()
            except IndexError:  # another thread may be doing the same after the loop's end
                return
            start()

    def _in_loop(self, work: Callable[[], None]) -> None:
        token = getattr(self, "_token", None)
        if token is not None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(work)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as exc:
            error = exc
            try:
                with sole():
                    raise exc
            except BaseException as single:
                error = single
            if not self._opened.done():
                self._opened.set_exception(error)

    async def _main(self) -> None:
        self._token, self._stopping = trio.lowlevel.current_trio_token(), trio.Event()
        try:
            async with self._resource() as opened, trio.open_nursery() as calls:
                self._opened_resource, self._calls = opened, calls
                self._opened.set_result(None)
                try:
                    await self._stopping.wait()
                finally:
                    self._stopping.set()  # the resource may have failed: a nursery that ends begins no call
                calls.cancel_scope.cancel()
        finally:
            self._stopping.set()


class Portal(Generic[R]):
    """Lets blocking code call asynchronous methods of a resource, in a loop in its own thread. Thread-safe.

    The first call opens the resource. `close`, the garbage collection of the portal, and the end of the process
    close it. After `close`, and in a forked child, the next call opens it again.
    """

    def __init__(self, resource: Callable[[], AbstractAsyncContextManager[R]]) -> None:
        self._resource = resource
        self._lock = threading.Lock()
        self._loop: _Loop[R] | None = None

    def call(self, work: Callable[[R], Awaitable[T]]) -> T:
        """Call `work` with the resource in the loop, and wait for its result.

        Raises: what opening it or `work` raises.
        """
        loop = self._loop
        if loop is None or not loop.is_running:
            loop = self._started()
        return loop.call(work)

    def iterate(self, opened: Callable[[R], AbstractAsyncContextManager[AsyncIterator[T]]]) -> Iterator[T]:
        """Yield the items of an asynchronous iterator, which is closed with this one.

        Raises: what opening, the iterator or the resource raises.
        """
        items: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(1)
        scope, tokens = trio.CancelScope(), list[trio.lowlevel.TrioToken]()

        async def work(resource: R) -> None:
            tokens.append(trio.lowlevel.current_trio_token())
            with scope:
                async with opened(resource) as found:
                    async for item in found:
                        await trio.to_thread.run_sync(items.put, (True, item))

        def run() -> None:
            error: BaseException | None = None
            try:
                self.call(work)
            except BaseException as exc:
                error = exc
            items.put((False, error))

        thread = threading.Thread(target=run, name="plasm-map", daemon=True)
        thread.start()
        try:
            while True:
                is_item, value = items.get()
                if is_item:
                    yield cast("T", value)
                    continue
                if value is not None:
                    raise cast("BaseException", value)
                return
        finally:
            # The loop may be about to return a result that no caller waits for any more.
            while thread.is_alive():
                for token in tokens:
                    with contextlib.suppress(trio.RunFinishedError):
                        token.run_sync_soon(scope.cancel)
                with contextlib.suppress(queue.Empty):
                    items.get(timeout=_DRAIN_S)

    def close(self) -> None:
        """Cancel the calls of other threads, close the resource, and wait until it is closed."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()
            loop.join()
            _LOOPS.discard(loop)

    def _started(self) -> _Loop[R]:
        with self._lock:
            loop = self._loop
            if loop is None or not loop.is_running:
                loop = self._loop = _Loop(self._resource)
                _LOOPS.add(loop)
                weakref.finalize(self, loop.stop).atexit = False
            return loop


_LOOPS: weakref.WeakSet[_Loop[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    loops = list(_LOOPS)
    for loop in loops:
        loop.stop()
    for loop in loops:
        loop.join(_EXIT_S)
