"""The one way to run a job on this machine: admit, run, take the outputs' digests, state the receipt, sign it.

The daemon's runner, `plasm run` here, verifiers that run a job again, and the trial of `plasm doctor` all come through
here; nothing else asks the executor to run a job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from plasm_core.errors import RefusedError
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Runtime
from plasm_core.policy import check_policy
from plasm_core.records import Envelope, JobInput, Manifest, Outcome, Receipt, sha256
from plasm_core.records.files import Product
from plasm_core.records.output import OutputDigest, OutputHasher, OutputStream
from plasm_core.records.run import Run
from plasm_core.sandbox.process.child import Meter, unmetered
from plasm_core.sandbox.process.collected_files import CollectedFiles, Scratch
from plasm_core.sandbox.process.file_pack import FilePack, check_files
from plasm_core.sandbox.process.supervision import StdinFile
from plasm_core.scratch_file import scratch_file
from plasm_core.signing import receipt_of, sign_receipt
from plasm_core.stopwatch import Stopwatch

FILES_FEATURE = "files"
"""The feature of runtimes that run jobs with files."""
NO_OUTPUTS = {stream: OutputDigest() for stream in OutputStream}
"""The digests of a job that has written nothing."""


class RunOutputs(Protocol):
    """Receives a run's outputs as they arrive, and computes their digests."""

    def write(self, stream: OutputStream, data: bytes) -> None:
        """Receive the next bytes of an output. It must not wait for a client."""

    def seal(self) -> Mapping[OutputStream, OutputDigest]:
        """Accept no more output, and return the digests."""


class PassedOn:
    """Passes outputs to a function as they arrive, and computes their digests."""

    def __init__(self, take: Callable[[OutputStream, bytes], None] = lambda _stream, _data: None) -> None:
        self._take = take
        self._hashers = {stream: OutputHasher() for stream in OutputStream}

    def write(self, stream: OutputStream, data: bytes) -> None:
        """Pass the next bytes of an output on."""
        self._hashers[stream].update(data)
        self._take(stream, data)

    def seal(self) -> dict[OutputStream, OutputDigest]:
        """Return the digests of the outputs."""
        return {stream: hasher.digest for stream, hasher in self._hashers.items()}


@attrs.frozen(kw_only=True)
class Executed:
    """A job that was run, and the digests of its outputs. `runtime`: the runtime that ran it; `files`: its output
    files.
    """

    run: Run
    outputs: Mapping[OutputStream, OutputDigest]
    runtime: Runtime
    files: CollectedFiles | None = None


@attrs.frozen(kw_only=True)
class Completed:
    """A finished job: its receipt, and the envelope with the node's signature."""

    receipt: Receipt
    envelope: Envelope
    files: CollectedFiles | None = None


def execute(
    node: LocalNode,
    manifest: Manifest,
    read_module: Callable[[], bytes],
    inputs: JobInput,
    outputs: RunOutputs,
    *,
    runtime: Runtime | str | None = None,
    client: str = "",
    stdin: StdinFile | None = None,
    cancelled: threading.Event | None = None,
    progress: Callable[[str], None] = lambda _phase: None,
    admitted: Callable[[], object] = lambda: None,
    meter: Meter = unmetered,
    files: FilePack | None = None,
    scratch: Callable[[], Scratch] = scratch_file,
) -> Executed:
    """Admit a job's module and run the job to its end.

    `read_module` returns the manifest's module, checked; it is called only if the cache lacks the compiled module.
    `runtime`: the runtime or its name, None for the configured one. `client`: the job's owner; a shared worker serves the
    jobs of one owner only. `stdin`: an open file with the standard input, in place of the one in `inputs`; the caller
    closes it. `admitted` is called when the guest is about to start. `meter` receives the processor time of the
    processes that admit the module and run the guest, also if the job fails. `files`: the input tree of a job with
    files; `scratch` creates the file for its outputs.

    Raises: `RefusedError` before the job starts; `PluginError`, `SandboxError`; what `outputs` raises.
    """
    chosen = runtime if isinstance(runtime, Runtime) else node.runtime(runtime)
    check_files(manifest.files, files)
    collected = None
    if manifest.files is not None and files is not None:
        if FILES_FEATURE not in chosen.features:
            raise RefusedError(
                "unsupported_feature",
                f"the runtime {chosen.name} cannot run a job with files",
                hint="choose another runtime with --runtime",
            )
        collected = CollectedFiles(manifest.files, files, scratch)
    with node.admission(chosen).admit_stored(
        *(manifest.module, read_module, manifest.limits),
        entry=manifest.entry,
        profile=manifest.profile,
        progress=progress,
        meter=meter,
    ) as program:
        if cancelled is not None and cancelled.is_set():
            run = not_run(Outcome(kind="cancelled", detail="on request"))
        else:
            admitted()
            progress("running")
            run = node.executor.run(
                program,
                manifest,
                inputs,
                outputs.write,
                client=client,
                cancelled=cancelled,
                stdin=stdin,
                close_program=True,
                files=collected,
                meter=meter,
            )
    return Executed(run=run, outputs=outputs.seal(), runtime=chosen, files=collected)


def not_run(outcome: Outcome, watch: Stopwatch | None = None) -> Run:
    """Return the run of a guest that did not run. `watch`: a stopwatch that was started with the attempt."""
    watch = watch or Stopwatch()
    finished_at, wall_time_s = watch.read()
    return Run(
        outcome=outcome,
        gas_used=0,
        started_at=watch.started_at,
        finished_at=finished_at,
        wall_time_s=wall_time_s,
        cpu_time_s=0.0,
        peak_memory_bytes=0,
    )


def certify(
    node: LocalNode,
    run: Run,
    outputs: Mapping[OutputStream, OutputDigest],
    *,
    manifest_json: bytes,
    manifest: Manifest,
    runtime: Runtime | None = None,
    attempt: int = 1,
    files: tuple[Product, ...] = (),
) -> Completed:
    """Build the receipt for a run, and sign it with the node's key. `runtime`: None for the configured one.

    `files`: the job's output files.

    Raises: `KeyFileError`, `PluginError`.
    """
    receipt = receipt_of(
        run,
        outputs,
        manifest_json=manifest_json,
        manifest=manifest,
        runtime=runtime or node.runtime(),
        isolation=node.executor.isolation,
        node=node.signer.peer_id,
        attempt=attempt,
        files=files,
    )
    return Completed(receipt=receipt, envelope=sign_receipt(receipt, node.signer))


def run_job(
    node: LocalNode,
    module: bytes,
    inputs: JobInput,
    manifest: Manifest,
    output: Callable[[OutputStream, bytes], None],
    *,
    progress: Callable[[str], None] = lambda _phase: None,
    cancelled: threading.Event | None = None,
    files: FilePack | None = None,
    runtime: Runtime | str | None = None,
    digest: str | None = None,
) -> Completed:
    """Run a job whose module and input are in memory, and return its signed receipt.

    `output` receives bytes as they arrive. `runtime`: the runtime or its name, None for the configured one. `files` is the
    input tree of a job with files. `digest`: the SHA-256 of `module` if the caller has computed it, in hexadecimal
    digits. The caller closes the output files.

    Raises: `RefusedError` before the job starts; `PluginError`, `KeyFileError`, `SandboxError`.
    """
    check_policy(manifest, node.config)
    _ = node.signer.peer_id, node.verifiers  # before the work, so that a bad key or plugin costs nothing
    check_given(manifest, module, inputs, digest)
    done = execute(
        *(node, manifest, lambda: module, inputs, PassedOn(output)),
        runtime=runtime,
        progress=progress,
        cancelled=cancelled,
        files=files,
    )
    completed = certify(
        node,
        done.run,
        done.outputs,
        manifest_json=manifest.to_json(),
        manifest=manifest,
        runtime=done.runtime,
        files=() if done.files is None else done.files.digests,
    )
    return attrs.evolve(completed, files=done.files)


def check_given(manifest: Manifest, module: bytes, inputs: JobInput, digest: str | None = None) -> None:
    """Refuse a module or input whose digest differs from the manifest's. `digest`: see `run_job`.

    Raises: `RefusedError`.
    """
    if (digest or sha256(module)) != manifest.module or inputs.mismatches(manifest):
        raise RefusedError("digest_mismatch", "the module or input is not what the manifest names")
