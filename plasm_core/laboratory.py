"""The laboratory that a node gives its verifiers: a job of which it has the bytes, run again on its engines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property

import attrs

from plasm_core.errors import PluginError, RefusedError
from plasm_core.issuer import OutputDigest
from plasm_core.node import Node, check_policy
from plasm_core.records import Asked, JobInput, Limits, Manifest, Observables, Retry, sha256
from plasm_core.records.manifest import MANIFEST_FORMAT, new_nonce

log = logging.getLogger(__name__)


class NodeLaboratory:
    """Runs one job again. `load` returns its module and input, and is called when they are first needed."""

    def __init__(
        self,
        node: Node,
        load: Callable[[], tuple[bytes, JobInput]],
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._node = node
        self._load = load
        self._cancelled = cancelled

    @cached_property
    def _loaded(self) -> tuple[bytes, JobInput]:
        return self._load()

    def runtimes(self, asked: Asked, among: Sequence[str]) -> tuple[str, ...]:
        """As `Laboratory.runtimes`. Raises: `RefusedError`, `SandboxError`."""
        module, _ = self._job_of(_manifest(asked))
        features = set(self._node.inspect(module).checked().features)
        found = []
        for name in among:
            try:
                runtime = self._node.runtime(name)
            except PluginError as exc:
                log.info("runtime passed over name=%s reason=%s", name, exc)
                continue
            if features <= runtime.features:
                found.append(name)
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
        digests = {1: OutputDigest(), 2: OutputDigest()}
        with self._node.admission(self._node.runtime(runtime)).admit(module, manifest.limits) as program:
            run = self._node.executor.run(
                program,
                manifest,
                inputs,
                lambda stream, data: digests[stream].update(data),
                cancelled=self._cancelled,
            )
        return Observables(
            outcome=run.outcome,
            gas_used=run.gas_used,
            stdout=digests[1].hexdigest,
            stdout_bytes=digests[1].size_bytes,
            stderr=digests[2].hexdigest,
            stderr_bytes=digests[2].size_bytes,
        )


def _manifest(asked: Asked, wall_time_s: int = 1) -> Manifest:
    """Return a manifest of the task that was asked for, a submission of its own."""
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
    )
