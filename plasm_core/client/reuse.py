"""Runs a job unless an equal task was run and verified before (`--reuse`)."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Collection

import attrs
import trio

from plasm_core.client.output import Sink, call_sink
from plasm_core.client.result import JobResult
from plasm_core.client.result_cache import Copying, KeptResult, ResultCache
from plasm_core.client.result_verification import Judge
from plasm_core.client.submission import Submission
from plasm_core.protocol.channels import MAX_DATA_BYTES
from plasm_core.records.output import OutputStream


@attrs.frozen(kw_only=True)
class Reuse:
    """The cache of verified results, and the assurance that a reused result needs.

    `denied`: PeerIds of nodes. `strangers`: whether nodes that the user does not know may run the client's jobs.
    """

    cache: ResultCache
    judge: Judge
    require: str
    denied: Collection[str] = ()
    strangers: bool = False

    async def run(
        self,
        submission: Submission,
        sink: Sink | None,
        run: Callable[[Sink | None], Awaitable[JobResult]],
    ) -> JobResult:
        """Return the earlier result of an equal task, or call `run` with a sink and keep its result.

        Raises: what `run` and the sink raise.
        """
        find = functools.partial(
            self.cache.find, require=self.require, denied=self.denied, strangers=self.strangers
        )
        kept = await trio.to_thread.run_sync(find, submission.manifest, self.judge.verifiers)
        if kept is not None:
            return await _given(kept, sink)
        copy = None if sink is None else Copying(sink)
        result = await run(copy)
        written = {OutputStream.STDOUT: result.stdout, OutputStream.STDERR: result.stderr}
        outputs = written if copy is None else copy.outputs
        keep = functools.partial(self.cache.keep, verifiers=self.judge.verifiers)
        await trio.to_thread.run_sync(keep, submission.manifest_json, result, outputs)
        return result


async def _given(kept: KeptResult, sink: Sink | None) -> JobResult:
    """Return a kept result as a run would have: with its output in the result, or in the sink."""
    if sink is None:
        return attrs.evolve(
            kept.result, stdout=kept.outputs[OutputStream.STDOUT], stderr=kept.outputs[OutputStream.STDERR]
        )
    for stream, data in kept.outputs.items():
        for start in range(0, len(data), MAX_DATA_BYTES):
            await call_sink(sink, sink.write, stream, data[start : start + MAX_DATA_BYTES])
    await call_sink(sink, sink.settle)
    return kept.result
