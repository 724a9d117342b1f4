"""The composition root: picks the plugins, wires them, and runs one job from its bytes to its envelope."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cached_property

import attrs

from plasm_core import paths, plugins
from plasm_core.abc import Runtime, Signer, Validator, Verifier
from plasm_core.config import AdmissionLimits, Config
from plasm_core.errors import RefusedError, StorageError
from plasm_core.issuer import OutputDigest, receipt_of, sign
from plasm_core.machine import machine
from plasm_core.records import Envelope, JobInput, Manifest, Receipt, sha256
from plasm_core.sandbox.admission import Admission
from plasm_core.sandbox.cache import Cache, cache_key
from plasm_core.sandbox.executor import Executor
from plasm_core.sandbox.prepare import Preparation
from plasm_core.sandbox.refusals import Refusals

_LEAST_COMPILER_BYTES = 64 << 20


@attrs.frozen(kw_only=True)
class Completed:
    """A job that ran: its receipt, and the envelope that holds it signed."""

    receipt: Receipt
    envelope: Envelope


class Node:
    """One machine's engine room, made from a configuration. Components are made when first needed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.executor = Executor(config.sandbox)
        self._runtimes: dict[str, Runtime] = {}
        self._refusals = Refusals()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that wait for jobs."""
        self.executor.close()

    @cached_property
    def signer(self) -> Signer:
        """The signer chosen."""
        name = self.config.plasm.signer
        return plugins.create(Signer, name, self.config.table("signer", name))  # type: ignore[type-abstract]

    @cached_property
    def verifiers(self) -> list[Verifier]:
        """The verifiers chosen."""
        return [
            plugins.create(Verifier, name, self.config.table("verifier", name))  # type: ignore[type-abstract]
            for name in self.config.plasm.verifier
        ]

    @cached_property
    def validator(self) -> Validator:
        """The module validator chosen."""
        name = self.config.plasm.validator
        return plugins.create(Validator, name, self.config.table("validator", name))  # type: ignore[type-abstract]

    def runtime(self, name: str | None = None) -> Runtime:
        """Return a runtime, the one chosen if none is named."""
        name = name or self.config.plasm.runtime
        if name not in self._runtimes:
            table = self.config.table("runtime", name)
            self._runtimes[name] = plugins.create(Runtime, name, table)  # type: ignore[type-abstract]
        return self._runtimes[name]

    @cached_property
    def _cache(self) -> Cache:
        directory, key = paths.cache_directory() / "modules", paths.state_directory() / "cache.key"
        try:
            return Cache(directory, cache_key(key), self.config.admission.cache_bytes)
        except OSError as exc:
            raise StorageError(
                f"cannot use the cache in {directory} with the key {key}: {exc.strerror}",
                hint="XDG_CACHE_HOME and XDG_STATE_HOME say where else they may be",
            ) from exc

    def admission(self, runtime: Runtime | None = None) -> Admission:
        """Return the admission for a runtime, the one chosen if none is given."""
        return Admission(
            validator=self.validator,
            runtime=runtime or self.runtime(),
            cache=self._cache,
            limits=self._admission_limits,
            refusals=self._refusals,
        )

    @cached_property
    def _admission_limits(self) -> AdmissionLimits:
        """What a compiler may take: no more than half of the memory, lest the kernel choose whom to kill."""
        limits = self.config.admission
        half = max(_LEAST_COMPILER_BYTES, machine().memory_bytes // 2)
        return attrs.evolve(limits, memory_bytes=min(limits.memory_bytes, half))

    def inspect(self, module: bytes) -> Preparation:
        """Validate and describe a module, naming every problem. Raises: `RefusedError`."""
        return self.admission().inspect(module)

    def run(
        self,
        module: bytes,
        inputs: JobInput,
        manifest: Manifest,
        output: Callable[[int, bytes], None],
        *,
        progress: Callable[[str], None] = lambda _phase: None,
        cancelled: threading.Event | None = None,
    ) -> Completed:
        """Admit, run and sign. `output` takes a stream (1 or 2) and bytes as they come.

        Raises: `RefusedError` before anything ran; `PluginError`, `KeyFileError`, `SandboxError`.
        """
        check_policy(manifest, self.config)
        signer = self.signer
        _ = signer.peer_id, self.verifiers  # before the work, so that a bad key or plugin costs nothing
        runtime = self.runtime()
        digests = {1: OutputDigest(), 2: OutputDigest()}

        def take(stream: int, data: bytes) -> None:
            digests[stream].update(data)
            output(stream, data)

        if sha256(module) != manifest.module or inputs.mismatches(manifest):
            raise RefusedError("digest_mismatch", "the module or input is not what the manifest names")
        with self.admission(runtime).admit(module, manifest.limits, progress=progress) as program:
            progress("running")
            run = self.executor.run(program, manifest, inputs, take, cancelled=cancelled)
        receipt = receipt_of(
            run,
            manifest_json=manifest.to_json(),
            manifest=manifest,
            stdout=digests[1],
            stderr=digests[2],
            runtime=runtime,
            isolation=self.executor.isolation,
            signer=signer,
        )
        return Completed(receipt=receipt, envelope=sign(receipt, signer))


def check_policy(manifest: Manifest, config: Config) -> None:
    """Refuse a manifest that asks for what the node's policy does not grant."""
    denied = sorted(set(manifest.capabilities) - set(config.policy.capabilities))
    if denied:
        raise RefusedError(
            "capability_denied",
            f"this node does not grant {', '.join(denied)}",
            hint=f"grant it with --set 'policy.capabilities={json.dumps(list(manifest.capabilities))}'",
        )
