"""An executor of `concurrent.futures` that runs modules on nodes."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

import attrs
import trio

from plasm_core.client.async_client import AsyncClient
from plasm_core.client.client import Client
from plasm_core.client.dispatcher import Dispatcher, Finished, QueuedJob
from plasm_core.client.job_map import close_inputs, result_of, submission_of
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Content, Submission, Terms, check_terms, source_of
from plasm_core.client.upload import Source
from plasm_core.errors import PlasmError

if TYPE_CHECKING:
    from typing_extensions import Unpack

_MOST_MODULES = 64
"""So many modules stay open between jobs."""


@attrs.define(eq=False)
class _Call:
    """One submitted job: how to make it, its future, and what becomes of its result."""

    future: Future[Any]
    make: Callable[[], tuple[Submission, Source]]
    convert: Callable[[JobResult], Any]
    module: Source | None = None


class PlasmExecutor(Executor):
    """An executor of `concurrent.futures` for modules: `submit` returns a future of a `JobResult`.

        from concurrent.futures import as_completed

        from plasm_core import PlasmExecutor

        with PlasmExecutor() as executor:
            futures = [executor.submit("examples/hello/hello.wasm", args=[word]) for word in ("one", "two")]
            for future in as_completed(futures):
                print(future.result())

    A job that fails has a result too: see `JobResult.ok`. The future's exception is the error of a job without a
    result. A future can be cancelled until its job is sent.

    `client`: by default a client of this machine's daemon, which is closed with the executor. `max_workers`: the most
    jobs in flight; by default as many as the nodes accept. `terms` are added to those of each job.
    """

    def __init__(
        self,
        client: Client | None = None,
        max_workers: int | None = None,
        *,
        timeout_s: float | None = None,
        **terms: Unpack[Terms],
    ) -> None:
        """Prepare it; nothing is opened before the first job. Raises: ValueError, TypeError."""
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        check_terms(terms)
        self._terms = terms
        self._calls = _Calls(
            Client() if client is None else client, max_workers, timeout_s, owned=client is None
        )
        weakref.finalize(self, self._calls.shut_down).atexit = False

    def submit(  # type: ignore[override]
        self, module: Content, given: Mapping[str, Any] | Content = b"", /, **terms: Unpack[Terms]
    ) -> Future[JobResult]:
        """Have a module run with an input: a mapping of terms, or what `stdin=` takes. Return its future at once.

        Raises: TypeError on wrong terms; RuntimeError after `shutdown`.
        """
        check_terms(terms)
        chosen = {**self._terms, **terms}
        return self._enqueue(module, chosen, given, lambda result: result)

    def map(  # type: ignore[override]
        self,
        module: Content,
        *inputs: Iterable[Mapping[str, Any] | Content],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[JobResult]:
        """Have a module run with each input, and return an iterator of results in order. All inputs are read at once.

        `timeout`, in seconds from now: TimeoutError if a result is not there then. `chunksize` has no effect.
        """
        return super().map(module, *inputs, timeout=timeout, chunksize=chunksize)  # type: ignore[arg-type]

    def _enqueue(
        self,
        module: Content,
        terms: Mapping[str, Any],
        given: Mapping[str, Any] | Content,
        convert: Callable[[JobResult], Any],
    ) -> Future[Any]:
        calls = self._calls

        def make() -> tuple[Submission, Source]:
            source = calls.module(module)
            return submission_of(source, terms, given), source

        return calls.add(_Call(Future(), make, convert))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs. `wait`: until those that there are have ended; `cancel_futures`: cancel those not sent."""
        self._calls.shut_down(cancel_futures=cancel_futures)
        if wait:
            self._calls.join()


class _Calls:
    """The jobs of one executor, and the thread that runs them while there are any. Thread-safe."""

    def __init__(self, client: Client, most: int | None, timeout_s: float | None, *, owned: bool) -> None:
        self._client = client
        self._most = most
        self._timeout_s = timeout_s
        self._is_owned = owned
        self._lock = threading.Lock()
        self._waiting: deque[_Call] = deque()
        self._modules: dict[Any, Source] = {}
        self._is_shut_down = False
        self._thread: threading.Thread | None = None
        self._wake: Callable[[], None] = lambda: None
        self._sent: dict[int, _Call] = {}
        self._number = 0
        _EXECUTORS.add(self)

    def add(self, call: _Call) -> Future[Any]:
        """Take a job. Raises: RuntimeError after `shut_down`."""
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="plasm-executor", daemon=True)
                self._thread.start()
            self._wake()
        return call.future

    def shut_down(self, *, cancel_futures: bool = False) -> None:
        """Take no more jobs."""
        with self._lock:
            self._is_shut_down = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._wake()
            idle = self._thread is None
        for call in dropped:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        if idle:
            self._close()

    def join(self) -> None:
        """Wait until all jobs have ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def module(self, content: Content) -> Source:
        """Return the source of a module; one that was used lately is read once. Raises: as `Submission.of`."""
        if isinstance(content, Source):
            return content
        key = bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else str(content)
        with self._lock:
            found = self._modules.pop(key, None)
        found = found or source_of(content, "the module")
        with self._lock:
            self._modules[key] = found
            for old in list(self._modules)[:-_MOST_MODULES]:
                del self._modules[old]  # running jobs still use it; it is closed when the last one ends
        return found

    def _run(self) -> None:
        """Run jobs until the executor is closed and no jobs are left."""
        while True:
            error: BaseException = PlasmError("the client was closed")
            try:
                self._client.do(self._dispatch)
            except BaseException as exc:
                error = exc
            with self._lock:
                failed = [*self._sent.values(), *self._waiting]
                self._sent.clear()
                self._waiting.clear()
                self._wake = lambda: None
                is_over = self._is_shut_down
                if not failed or is_over:
                    self._thread = None
            for call in failed:
                if call.future.running() or call.future.set_running_or_notify_cancel():
                    call.future.set_exception(error)
            failed.clear()
            if is_over:
                self._close()
                return
            if self._thread is None:
                return

    def _close(self) -> None:
        for source in self._modules.values():
            source.close()
        self._modules.clear()
        if self._is_owned:
            self._client.close()

    async def _dispatch(self, client: AsyncClient) -> None:
        token, changed = trio.lowlevel.current_trio_token(), trio.lowlevel.ParkingLot()

        def wake() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(changed.unpark_all)

        async def pull() -> QueuedJob | None:
            while True:
                with self._lock:
                    call = self._waiting.popleft() if self._waiting else None
                    is_over = self._is_shut_down
                if call is None:
                    if is_over:
                        return None
                    await changed.park()
                    continue
                if (job := await trio.to_thread.run_sync(self._made, call)) is not None:
                    return job
                del call

        with self._lock:
            self._wake = wake
        await Dispatcher(client, pull, self._deliver, most=self._most, timeout_s=self._timeout_s).run()

    def _made(self, call: _Call) -> QueuedJob | None:
        """Make a job, None if it was cancelled or cannot be made."""
        if not call.future.set_running_or_notify_cancel():
            return None
        try:
            submission, call.module = call.make()
        except BaseException as exc:
            call.future.set_exception(exc)
            return None
        with self._lock:
            self._number += 1
            self._sent[self._number] = call
        return QueuedJob(self._number, submission)

    async def _deliver(self, finished: Finished) -> None:
        with self._lock:
            call = self._sent.pop(finished.index)
        await trio.to_thread.run_sync(self._settle, call, finished)

    @staticmethod
    def _settle(call: _Call, finished: Finished) -> None:
        assert call.module is not None
        close_inputs(finished.submission, call.module)
        try:
            found = result_of(finished)
            if isinstance(found, PlasmError):
                raise found
            value = call.convert(found)
        except BaseException as exc:
            call.future.set_exception(exc)
        else:
            call.future.set_result(value)


_EXECUTORS: weakref.WeakSet[_Calls] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """End the jobs that were submitted, as the executors of the standard library do."""
    executors = list(_EXECUTORS)
    for calls in executors:
        calls.shut_down()
    for calls in executors:
        calls.join()
