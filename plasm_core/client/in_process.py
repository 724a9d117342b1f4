"""The client of a machine without a daemon: it runs the job in this process's own sandbox.

It takes the same submission and returns the same result as the clients of daemons and nodes. Between it and the
sandbox there are no messages of the job protocol: they would copy each byte of output twice, and turn the errors of
the sandbox into refusals.
"""

from __future__ import annotations

import functools

import attrs

from plasm_core import assurance
from plasm_core.assurance import Standing
from plasm_core.client.output import Digesting, Sink
from plasm_core.client.result import JobResult
from plasm_core.client.result_cache import Copying, ResultCache
from plasm_core.client.result_files import ResultFiles
from plasm_core.client.submission import Submission
from plasm_core.client.upload import Bytes
from plasm_core.client.watcher import Watcher, silent
from plasm_core.config import Config
from plasm_core.errors import RefusedError
from plasm_core.execution import Completed, run_job
from plasm_core.first_run import first_runtime, is_hot
from plasm_core.local_node import LocalNode
from plasm_core.protocol.channels import Channel
from plasm_core.records import Manifest
from plasm_core.records.files import Product
from plasm_core.reexecution import NodeLaboratory
from plasm_core.verification import Expectation, verify


class InProcessClient:
    """Runs jobs in the calling thread, one at a time, with the key of this machine's node."""

    def __init__(self, config: Config) -> None:
        chosen = assurance.verifiers_for(config.plasm.require, config.plasm.verifier)
        self._config = attrs.evolve(config, plasm=attrs.evolve(config.plasm, verifier=chosen))
        self.hot: tuple[Manifest, bytes] | None = None
        """A job whose module has run before and is not compiled for the configured runtime: see `compile_behind`."""

    def run(self, submission: Submission, *, sink: Sink, watch: Watcher = silent) -> JobResult:
        """Run a job to its end, verify its receipt, and return the result.

        Output is passed to the sink as it is written. With `plasm.reuse` an earlier verified result of an equal task
        is returned, and nothing runs. The result is returned with any verdict, because its output was passed
        on before the verification; the caller compares the verdict with its requirements. The job gets the grants
        that it asks for, because its user owns the machine.

        Raises: `RefusedError` before the job starts; `ConfigError`, `PluginError`, `KeyFileError`, `SandboxError`;
        OSError from the submission's sources; what the sink raises.
        """
        manifest = submission.manifest
        copy = Copying(sink)
        output = Digesting(copy)
        with LocalNode(_granting(self._config, manifest)) as node:
            cache = ResultCache() if self._config.plasm.reuse else None
            if cache is not None:
                policy = self._config.policy
                kept = cache.find(
                    manifest, node.verifiers, require=self._config.plasm.require, denied=policy.denied
                )
                if kept is not None:
                    for stream, data in kept.outputs.items():
                        sink.write(stream, data)
                    sink.settle()
                    return kept.result
            code, inputs = submission.load()
            source = submission.sources[Channel.MODULE]
            progress = functools.partial(_without_status, watch)
            run = functools.partial(
                run_job,
                *(node, code, inputs, manifest, output.write),
                progress=progress,
                files=submission.pack,
                digest=source.digest if isinstance(source, Bytes) else None,
            )
            quick = first_runtime(node, manifest, len(code))
            if quick is not None and is_hot(node, manifest, quick):
                self.hot = (manifest, code)
            try:
                completed = run(runtime=quick)
            except RefusedError:
                if quick is None:
                    raise
                completed = run()  # nothing ran: the configured runtime may have what that one lacks
            output.settle()
            _, verdict = verify(
                completed.envelope.to_json(),
                Expectation(
                    peer=node.signer.peer_id,
                    manifest_json=submission.manifest_json,
                    outputs=output.digests,
                    files=_left(manifest, completed),
                ),
                node.verifiers,
                laboratory=NodeLaboratory(
                    node, lambda: (code, inputs), files=submission.pack, progress=progress
                ),
            )
            result = JobResult(
                handle=submission.handle(node.signer.peer_id),
                state=completed.receipt.result.outcome.state,
                receipt=completed.receipt,
                envelope=completed.envelope,
                verdict=attrs.evolve(verdict, standing=Standing.OWN),
                standing=Standing.OWN,
                files=ResultFiles(completed.files),
            )
            if cache is not None:
                cache.keep(submission.manifest_json, result, copy.outputs, node.verifiers)
            return result


def _without_status(watch: Watcher, phase: str) -> None:
    watch(phase, None)


def _left(manifest: Manifest, completed: Completed) -> dict[str, Product | None]:
    """Return the job's outputs by path."""
    if manifest.files is None or completed.files is None:
        return {}
    there = {item.path: item for item in completed.files.digests}
    return {path: there.get(path) for path in manifest.files.outputs}


def _granting(config: Config, manifest: Manifest) -> Config:
    """Return the configuration with the grants that a manifest asks for."""
    granted = tuple(sorted({*config.policy.grants, *manifest.capabilities}))
    return attrs.evolve(config, policy=attrs.evolve(config.policy, grants=granted))
