"""The laboratory that a node gives its verifiers: a job of which it has the bytes, run again on its engines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import attrs

from plasm_core.errors import PlasmError, PluginError, RefusedError
from plasm_core.execution import FILES_FEATURE, PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.policy import check_policy
from plasm_core.records import Asked, JobInput, Limits, Manifest, Observables, Retry, sha256
from plasm_core.records.files import Product
from plasm_core.records.manifest import MANIFEST_FORMAT, new_nonce
from plasm_core.records.output import OutputStream
from plasm_core.sandbox.admission.compiler_flags import advice_against
from plasm_core.sandbox.admission.fit import lacking
from plasm_core.sandbox.process.file_pack import FilePack

log = logging.getLogger(__name__)


class NodeLaboratory:
    """Runs one job again. `load` returns its module and input, and is called when they are first needed.

    `files`: its input tree, which stays the caller's. `progress` is told each phase of a run. `ran_on`: the runtimes
    that ran it to an end that can be compared.
    """

    def __init__(
        self,
        node: LocalNode,
        load: Callable[[], tuple[bytes, JobInput]],
        *,
        cancelled: threading.Event | None = None,
        files: FilePack | None = None,
        progress: Callable[[str], None] = lambda _phase: None,
    ) -> None:
        self._node = node
        self._load = load
        self._cancelled = cancelled
        self._files = files
        self._progress = progress
        self._passed_over: dict[str, str] = {}
        self.ran_on: list[str] = []

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Why each of the runtimes that did not run the job again could not, with their names."""
        return tuple(self._passed_over.values())

    @cached_property
    def _loaded(self) -> tuple[bytes, JobInput]:
        return self._load()

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """See `Laboratory.runtimes`. Raises: `RefusedError`, also if no runtime can run the task; `SandboxError`."""
        module, _ = self._job_of(_manifest(asked))
        info = self._node.inspect(module, entry=asked.entry).checked()
        found, missing = list[str](), set[str]()
        for name in among:
            try:
                runtime = self._node.runtime(name)
            except PluginError as exc:
                log.info("runtime passed over name=%s reason=%s", name, exc)
                self._passed_over[name] = str(exc)
                continue
            lacked = lacking(info, runtime)
            if asked.files is not None and FILES_FEATURE not in runtime.features:
                lacked.append(FILES_FEATURE)
            if lacked:
                self._passed_over[name] = f"the runtime {name} lacks {', '.join(lacked)}"
                missing.update(lacked)
            else:
                found.append(name)
        if not found:
            reasons = "; ".join(self._passed_over[name] for name in among) or "no runtime is named"
            raise RefusedError("no_runtime", f"no engine: {reasons}", hint=advice_against(missing))
        return tuple(found)

    def _job_of(self, manifest: Manifest) -> tuple[bytes, JobInput]:
        """Return the module and input. Raises: `RefusedError` if they are not the manifest's."""
        module, inputs = self._loaded
        missing = ["module"] if sha256(module) != manifest.module else []
        missing += inputs.mismatches(manifest)
        if missing:
            raise RefusedError("digest_mismatch", f"not at hand: the job's {', '.join(missing)}")
        return module, inputs

    def run(self, asked: Asked, *, runtime: str, wall_time_s: int) -> Observables:
        """As `Laboratory.run`. Raises: `RefusedError`, `PluginError`, `ConfigError`, `SandboxError`."""
        manifest = _manifest(asked, wall_time_s)
        module, inputs = self._job_of(manifest)
        check_policy(manifest, self._node.config)
        files = self._files_of(manifest)
        try:
            done = execute(
                *(self._node, manifest, lambda: module, inputs, PassedOn()),
                runtime=runtime,
                cancelled=self._cancelled,
                progress=lambda phase: self._progress("running again" if phase == "running" else phase),
                files=files,
            )
        except PlasmError as exc:
            self._passed_over[runtime] = f"{runtime}: {exc}"
            raise
        if done.run.outcome.recheckable:
            self.ran_on.append(runtime)
        else:
            self._passed_over[runtime] = f"{runtime}: {done.run.outcome}"
        left: tuple[Product, ...] = ()
        if done.files is not None:
            left = done.files.digests
            done.files.close()
        stdout, stderr = done.outputs[OutputStream.STDOUT], done.outputs[OutputStream.STDERR]
        return Observables(
            outcome=done.run.outcome,
            gas_used=done.run.gas_used,
            stdout=stdout.sha256,
            stdout_bytes=stdout.size_bytes,
            stderr=stderr.sha256,
            stderr_bytes=stderr.size_bytes,
            files=left,
        )

    def _files_of(self, manifest: Manifest) -> FilePack | None:
        """Return the job's files. Raises: `RefusedError` if they are missing."""
        if manifest.files is None:
            return None
        if self._files is None or self._files.tree != manifest.files.tree:
            raise RefusedError("digest_mismatch", "not at hand: the job's files")
        return self._files


def _manifest(asked: Asked, wall_time_s: int = 1) -> Manifest:
    """Return a new manifest of the same task, with its own nonce."""
    return Manifest(
        format=MANIFEST_FORMAT,
        profile=asked.profile,
        module=asked.module,
        args=asked.args,
        env=asked.env,
        stdin=asked.stdin,
        seed=asked.seed,
        limits=Limits(**attrs.asdict(asked.limits)),
        wall_time_s=wall_time_s,
        cpu=1,
        capabilities=asked.capabilities,
        retry=Retry(attempts=1),
        nonce=new_nonce(),
        files=None if asked.files is None else asked.files.as_asked(),
        entry=asked.entry,
    )
