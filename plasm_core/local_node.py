"""This machine's own node: the plugins that a configuration names, and the sandbox, made when first needed."""

from __future__ import annotations

from functools import cached_property

import attrs

from plasm_core import paths
from plasm_core.config import AdmissionLimits, Config
from plasm_core.errors import StorageError
from plasm_core.machine import machine
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Runtime, Signer, Validator, Verifier
from plasm_core.sandbox.admission.admission import Admission
from plasm_core.sandbox.admission.at_hand import AtHand
from plasm_core.sandbox.admission.cache import Cache, cache_key
from plasm_core.sandbox.admission.preparation import Preparation
from plasm_core.sandbox.admission.refusals import Refusals
from plasm_core.sandbox.process.executor import Executor

_LEAST_COMPILER_BYTES = 64 << 20


class LocalNode:
    """The components that run jobs on this machine: signer, verifiers, runtimes, admission and the executor."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.executor = Executor(config.sandbox)
        self._runtimes: dict[str, Runtime] = {}
        self._admissions: dict[int, Admission] = {}  # which keep their runtimes, and so their ids
        self._refusals = Refusals()
        self._at_hand = AtHand()

    def __enter__(self) -> LocalNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reconfigure(self, config: Config) -> None:
        """Replace the configuration. Only limits and policy take effect."""
        self.config = config

    def close(self) -> None:
        """End the idle worker processes."""
        self.executor.close()
        self._at_hand.close()

    @cached_property
    def signer(self) -> Signer:
        """The configured signer."""
        name = self.config.plasm.signer
        return loading.create(Signer, name, self.config.table("signer", name))  # type: ignore[type-abstract]

    @cached_property
    def verifiers(self) -> list[Verifier]:
        """The configured verifiers."""
        return [
            loading.create(Verifier, name, self.config.table("verifier", name))  # type: ignore[type-abstract]
            for name in self.config.plasm.verifier
        ]

    @cached_property
    def validator(self) -> Validator:
        """The configured module validator."""
        name = self.config.plasm.validator
        return loading.create(Validator, name, self.config.table("validator", name))  # type: ignore[type-abstract]

    def runtime(self, name: str | None = None) -> Runtime:
        """Return a runtime by its name, None for the configured one."""
        name = name or self.config.plasm.runtime
        if name not in self._runtimes:
            table = self.config.table("runtime", name)
            self._runtimes[name] = loading.create(Runtime, name, table)  # type: ignore[type-abstract]
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
        """Return the admission for a runtime, None for the configured one."""
        chosen = runtime or self.runtime()
        found = self._admissions.get(id(chosen))
        if found is None:
            found = self._admissions[id(chosen)] = Admission(
                validator=self.validator,
                runtime=chosen,
                cache=self._cache,
                limits=self._admission_limits,
                refusals=self._refusals,
                at_hand=self._at_hand,
            )
        return found

    @cached_property
    def _admission_limits(self) -> AdmissionLimits:
        """The limits of a compiler: at most half of the memory, so that the kernel does not have to kill a process."""
        limits = self.config.admission
        half = max(_LEAST_COMPILER_BYTES, machine().memory_bytes // 2)
        return attrs.evolve(limits, memory_bytes=min(limits.memory_bytes, half))

    def inspect(self, module: bytes, *, entry: str | None = None) -> Preparation:
        """Validate and describe a module, naming every problem. `entry`: the export to call in place of `_start`.

        Raises: `RefusedError`.
        """
        return self.admission().inspect(module, entry=entry)
