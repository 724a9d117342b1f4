"""`map` of the clients: one module over many inputs, results as they are verified, with bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from plasm_core.background_tasks import alongside
from plasm_core.client.arguments import AHEAD, check_map
from plasm_core.client.dispatcher import Dispatcher, Finished, JobRunner, QueuedJob
from plasm_core.client.file_terms import has_files, pack_files
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Content, JobInputs, Submission, Terms, check_terms, source_of
from plasm_core.client.upload import Source
from plasm_core.errors import PlasmError
from plasm_core.records.output import OutputStream

if TYPE_CHECKING:
    from typing_extensions import Unpack


def submission_of(module: Source, terms: Mapping[str, Any], given: Mapping[str, Any] | Content) -> Submission:
    """Make the submission of an input. Raises: as `Submission.of`."""
    own: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"stdin": given}
    if has_files(own):
        terms = {name: value for name, value in terms.items() if name not in ("pack", "asked_files")}
        if isinstance(own.get("files"), Mapping):
            own["files"] = {**terms.get("files", {}), **own["files"]}
    return Submission.of(module, **{**terms, **own})


@contextlib.contextmanager
def shared_files(terms: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Read the files that all jobs have in common once, and give the terms with them. Raises: as `Submission.of`."""
    if not has_files(terms):
        yield terms
        return
    pack, asked = pack_files(terms)
    with pack:
        yield {**terms, "pack": pack, "asked_files": asked}


def close_inputs(submission: Submission, module: Source) -> None:
    """Close the files of a submission but for the module, which others share."""
    for source in submission.sources.values():
        if source is not module:
            source.close()


def result_of(finished: Finished) -> JobResult | PlasmError:
    """Return the result with its outputs, or the error. It closes the output."""
    if finished.result is None or finished.output is None:
        return finished.error or PlasmError("the job has no result")
    with contextlib.closing(finished.output) as output:
        return attrs.evolve(
            finished.result, stdout=output.take(OutputStream.STDOUT), stderr=output.take(OutputStream.STDERR)
        )


class _Mapped:
    """The jobs of one call, made of an iterator as nodes have room."""

    def __init__(
        self, module: Source, inputs: JobInputs, terms: Mapping[str, Any], ahead: int, *, ordered: bool
    ) -> None:
        self._module = module
        self._inputs: Iterator[Any] = iter(inputs)
        self._terms = terms
        self._ahead = ahead
        self._ordered = ordered
        self._made = 0
        self._taken = 0
        self._ready: dict[int, JobResult | PlasmError] = {}
        self._is_over = False
        self._changed = trio.lowlevel.ParkingLot()

    async def pull(self) -> QueuedJob | None:
        """Wait until the caller has taken enough results, and return the next job; None after the last."""
        while self._made - self._taken >= self._ahead:
            await self._changed.park()
        number = self._made
        submission = await trio.to_thread.run_sync(self._next)
        if submission is None:
            return None
        self._made += 1
        return QueuedJob(number, submission)

    def _next(self) -> Submission | None:
        try:
            given = next(self._inputs)
        except StopIteration:
            return None
        return submission_of(self._module, self._terms, given)

    async def deliver(self, finished: Finished) -> None:
        """Keep an end until the caller takes it."""
        close_inputs(finished.submission, self._module)
        self._ready[finished.index] = await trio.to_thread.run_sync(result_of, finished)
        self._changed.unpark_all()

    def over(self) -> None:
        """Note that no more results come."""
        self._is_over = True
        self._changed.unpark_all()

    def __aiter__(self) -> _Mapped:
        return self

    async def __anext__(self) -> JobResult | PlasmError:
        """Return the next end, in order or as they come."""
        while True:
            wanted = self._taken if self._ordered else next(iter(self._ready), -1)
            if wanted in self._ready:
                await trio.lowlevel.checkpoint()
                self._taken += 1
                self._changed.unpark_all()
                return self._ready.pop(wanted)
            if self._is_over:
                raise StopAsyncIteration
            await self._changed.park()


@asynccontextmanager
async def map_jobs(
    client: JobRunner,
    module: Content,
    inputs: JobInputs,
    *,
    ordered: bool = True,
    in_flight: int | None = None,
    ahead: int = AHEAD,
    timeout_s: float | None = None,
    **terms: Unpack[Terms],
) -> AsyncIterator[AsyncIterator[JobResult | PlasmError]]:
    """Run a module over inputs, and yield an iterator of results, and of errors of jobs without a result.

    See `Client.map`.

    Raises: TypeError, ValueError on wrong arguments; within the block, the error that ended the whole run.
    """
    check_terms(terms)
    check_map(inputs, ordered=ordered, in_flight=in_flight, ahead=ahead, timeout_s=timeout_s)
    with contextlib.ExitStack() as opened:
        source = await trio.to_thread.run_sync(source_of, module, "the module")
        opened.callback(source.close)
        shared = await trio.to_thread.run_sync(opened.enter_context, shared_files(terms))
        mapped = _Mapped(source, inputs, shared, ahead, ordered=ordered)
        dispatcher = Dispatcher(client, mapped.pull, mapped.deliver, most=in_flight, timeout_s=timeout_s)

        async def run() -> None:
            await dispatcher.run()
            mapped.over()

        async with alongside(run):
            yield mapped
