"""Admission: from a module's bytes to an artefact that a worker can run, or a refusal that says why.

The caller's process never parses a module. Two child processes do the work under limits: one validates and meters,
one compiles. Their results are cached.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from plasm_core.config import AdmissionLimits
from plasm_core.errors import BadModuleError, CompileLimitError, RefusedError, SandboxError
from plasm_core.plugins.interfaces import Runtime, Validator, WorkerComponent
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.digest import sha256
from plasm_core.records.manifest import PROFILE, Limits
from plasm_core.sandbox.admission.at_hand import AtHand
from plasm_core.sandbox.admission.cache import Cache
from plasm_core.sandbox.admission.entry_names import Code, entry_name
from plasm_core.sandbox.admission.fit import check_fit
from plasm_core.sandbox.admission.preparation import Preparation
from plasm_core.sandbox.admission.refusals import FORGET_S, Refusals
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.child import (
    MAX_STATUS_BYTES,
    ChildReport,
    Meter,
    ran_out_of_memory,
    reason,
    run_child,
    shortage,
    unmetered,
)
from plasm_core.sandbox.process.descriptor import read_all
from plasm_core.sandbox.process.kill_cause import kills
from plasm_core.sandbox.process.sealed_memory import open_blob, seal, sealed_blob
from plasm_core.sandbox.program import ModuleInfo, Program
from plasm_core.setting_hint import setting_hint

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def _silent(_phase: str) -> None:
    pass


_BUSY_S = 300.0


class _OverloadedError(CompileLimitError):
    """The machine was too busy for a module, which may be compiled another time."""


class Admission:
    """Validates, meters and compiles modules for one runtime, each in a child process."""

    def __init__(
        self,
        *,
        validator: Validator,
        runtime: Runtime,
        cache: Cache,
        limits: AdmissionLimits,
        refusals: Refusals | None = None,
        at_hand: AtHand | None = None,
    ) -> None:
        self._at_hand = at_hand
        self._validator = validator
        self._runtime = runtime
        self._cache = cache
        self._limits = limits
        self._refusals = refusals if refusals is not None else Refusals()
        self._inject_nans = not runtime.canonical_nans
        self._trap_checks = not runtime.explains_traps
        self._lowered = sorted(runtime.lowered)
        self._components = (
            *(validator.entry, repr(validator.options())),
            *(runtime.name, runtime.entry, repr(runtime.options())),
        )

    def admit(
        self,
        module: bytes,
        limits: Limits,
        *,
        entry: str | None = None,
        profile: str = PROFILE,
        progress: Progress = _silent,
        meter: Meter = unmetered,
    ) -> Program:
        """Return a module's program, if it fits into a task's limits and profile.

        `entry`: the export to call in place of `_start`. `meter` is called with the processor time in seconds.

        Raises: `RefusedError` with a stable reason; `SandboxError` if a child cannot be started.
        """
        return self.admit_stored(
            *(sha256(module), lambda: module, limits),
            entry=entry,
            profile=profile,
            progress=progress,
            meter=meter,
        )

    def admit_stored(
        self,
        digest: str,
        read: Callable[[], bytes],
        limits: Limits,
        *,
        entry: str | None = None,
        profile: str = PROFILE,
        progress: Progress = _silent,
        meter: Meter = unmetered,
    ) -> Program:
        """Admit a module by its digest. Its bytes are read only if the cache lacks the compiled module.

        `read` returns the module's bytes, checked. Raises: as `admit`, and what `read` raises.
        """
        ready = self.admit_at_hand(digest, limits, entry=entry, profile=profile)
        if ready is not None:
            return ready
        code = Code(digest, entry)
        info = self._description(code)
        artefact = None
        if info is not None:
            self._check_length(info.size_bytes)  # it may have been prepared under another limit
            check_fit(info, self._runtime, limits, profile)
            artefact = self._cache.fetch(self._compiled_name(code))
        if info is None or artefact is None:
            with self._prepared(read, code, progress, meter) as (info, metered_fd):
                check_fit(info, self._runtime, limits, profile)
                artefact = self._compiled(code, metered_fd, progress, meter)
        if self._at_hand is not None:
            self._at_hand.put(self._key(code), info, artefact)
        return Program(digest=digest, info=info, runtime=self._runtime, artefact_fd=artefact, entry=entry)

    def admit_at_hand(
        self, digest: str, limits: Limits, *, entry: str | None = None, profile: str = PROFILE
    ) -> Program | None:
        """Admit a module from the programs in memory, None if it is not among them. Waits for nothing.

        Raises: `RefusedError`.
        """
        found = None if self._at_hand is None else self._at_hand.take(self._key(Code(digest, entry)))
        if found is None:
            return None
        info, fd = found
        try:
            self._check_length(info.size_bytes)
            check_fit(info, self._runtime, limits, profile)
        except RefusedError:
            os.close(fd)
            raise
        return Program(digest=digest, info=info, runtime=self._runtime, artefact_fd=fd, entry=entry)

    def fits_at_hand(
        self, digest: str, limits: Limits, *, entry: str | None = None, profile: str = PROFILE
    ) -> bool:
        """Return whether a module is among the programs in memory, so that `admit_at_hand` will admit it.

        Raises: `RefusedError`.
        """
        info = None if self._at_hand is None else self._at_hand.look_up(self._key(Code(digest, entry)))
        if info is None:
            return False
        self._check_length(info.size_bytes)
        check_fit(info, self._runtime, limits, profile)
        return True

    def is_compiled(self, digest: str, *, entry: str | None = None) -> bool:
        """Return whether the cache has a module, compiled for the runtime. It may be damaged: that is seen at its use."""
        return self._cache.has(self._compiled_name(Code(digest, entry)))

    def _key(self, code: Code) -> tuple[str, ...]:
        """Return the key of a program within one process: everything that it depends on."""
        return (code.identity, *self._components)

    def inspect(self, module: bytes, *, entry: str | None = None) -> Preparation:
        """Validate and describe a module without compiling it, naming every problem. The cache is used as for a run.

        `entry`: the export to call in place of `_start`.

        Raises: `RefusedError` if it is too large or validating takes too long.
        """
        self._check_length(len(module))
        code = Code(sha256(module), entry)
        info = self._description(code)
        if info is not None:
            return Preparation(info=info, problems=[])
        preparation, fd = self._prepare(module, entry, unmetered)
        try:
            if preparation.info is not None and not preparation.problems:
                seal(fd)
                self._keep(code, preparation.info, fd)
        finally:
            os.close(fd)
        return preparation

    # -- the cache: a module's description and its metered code apart, so that a cached run reads the small one only

    def _prepared_name(self, what: str, code: Code) -> str:
        validator = self._validator
        variant = what + "/canonical" * self._inject_nans + "/trap-checks" * self._trap_checks
        variant += "".join(f"/without-{feature}" for feature in self._lowered)
        return entry_name(variant, code, validator.entry, validator.version(), validator.options())

    def _compiled_name(self, code: Code) -> str:
        runtime = self._runtime
        return entry_name(
            f"compiled/{runtime.name}", code, runtime.entry, runtime.version(), runtime.options()
        )

    def _description(self, code: Code) -> ModuleInfo | None:
        """Return the cached description of a module that was prepared without a problem, or None."""
        fd = self._cache.fetch(self._prepared_name("described", code))
        if fd is None:
            return None
        try:
            value = parse_json(read_all(fd), record="module description", maximum=MAX_STATUS_BYTES)
            return structure(value, ModuleInfo, record="module description")
        finally:
            os.close(fd)

    def _keep(self, code: Code, info: ModuleInfo, code_fd: int) -> None:
        """Store a module's metered code and its description."""
        self._cache.store(self._prepared_name("metered", code), code_fd)
        described = sealed_blob("plasm-described", [encode_json(info)])
        try:
            self._cache.store(self._prepared_name("described", code), described)
        finally:
            os.close(described)

    # -- the two children

    @contextmanager
    def _prepared(
        self, read: Callable[[], bytes], code: Code, progress: Progress, meter: Meter
    ) -> Iterator[tuple[ModuleInfo, int]]:
        """Yield a module's description and a sealed blob of its metered code."""
        name = self._prepared_name("metered", code)
        info = self._description(code)
        fd = None if info is None else self._cache.fetch(name)
        if info is None or fd is None:
            with self._remembering(name):
                progress("validating")
                module = read()
                self._check_length(len(module))
                preparation, fd = self._prepare(module, code.entry, meter)
                del module
                try:
                    info = preparation.checked()
                    seal(fd)
                except BaseException:
                    os.close(fd)
                    raise
            self._keep(code, info, fd)
        try:
            yield info, fd
        finally:
            os.close(fd)

    @contextmanager
    def _remembering(self, name: str) -> Iterator[None]:
        """Do the work for a cache entry, unless it is known that it fails. Raises: `RefusedError`."""
        limits = self._limits
        key = f"{name} {limits.cpu_s} {limits.memory_bytes} {limits.module_bytes}"
        self._refusals.check(key)
        try:
            yield
        except RefusedError as exc:
            self._refusals.remember(key, exc, _BUSY_S if isinstance(exc, _OverloadedError) else FORGET_S)
            raise

    def _check_length(self, size_bytes: int) -> None:
        if size_bytes > self._limits.module_bytes:
            raise BadModuleError(
                "too_large",
                f"the module has {size_bytes} bytes, more than the {self._limits.module_bytes} allowed",
                hint=setting_hint("admission.module_bytes", size_bytes),
            )

    def _prepare(self, module: bytes, entry: str | None, meter: Meter) -> tuple[Preparation, int]:
        """Run the child that validates and meters. Return its report, and a descriptor of the metered code, which the
        caller closes.
        """
        module_fd = sealed_blob("plasm-module", [module])
        code_fd = open_blob("plasm-metered")
        try:
            report = self._run(
                *(self._validator, "plasm_core.sandbox.admission.prepare", module_fd, code_fd, meter),
                entry=entry,
            )
            self._check_end(report, "validated")
            status = parse_json(report.status, record="preparation", maximum=MAX_STATUS_BYTES)
            return structure(status, Preparation, record="preparation"), code_fd
        except BaseException:
            os.close(code_fd)
            raise
        finally:
            os.close(module_fd)

    def _compiled(self, code: Code, metered_fd: int, progress: Progress, meter: Meter) -> int:
        name = self._compiled_name(code)
        fd = self._cache.fetch(name)
        if fd is None:
            with self._remembering(name):
                progress("compiling")
                fd = self._compile(metered_fd, meter)
            self._cache.store(name, fd)
        return fd

    def _compile(self, metered_fd: int, meter: Meter) -> int:
        """Return a sealed blob of the artefact."""
        runtime = self._runtime
        fd = open_blob("plasm-artefact")
        try:
            report = self._run(runtime, "plasm_core.sandbox.admission.compile", metered_fd, fd, meter)
            if report.returncode == 3:
                message = " ".join(report.status.decode("utf-8", "replace").split())  # wasmtime's has lines
                if ran_out_of_memory(message):
                    raise self._memory_limit("compiled")
                raise RefusedError("compile_failed", f"{runtime.name} cannot compile it: {message}")
            self._check_end(report, "compiled")
            seal(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _run(
        self,
        component: WorkerComponent,
        main: str,
        module_fd: int,
        out_fd: int,
        meter: Meter,
        entry: str | None = None,
    ) -> ChildReport:
        limits = self._limits
        return run_child(
            component.python(),
            main,
            {
                "entry": component.entry,
                "options": component.options(),
                "canonical_nans": self._inject_nans,
                "trap_checks": self._trap_checks,
                "lowered": self._lowered,
                "main": entry,
                "module_fd": module_fd,
                "out_fd": out_fd,
                "cpu_s": limits.cpu_s,
                "memory_bytes": limits.memory_bytes + component.reserved_bytes,
                "confinement": seccomp_filters.confinement(
                    seccomp_filters.compiling(threads=component.threads), file_bytes=limits.memory_bytes
                ),
            },
            title=f"plasm {main.rpartition('.')[2]} {component.name}",
            pass_fds=[module_fd, out_fd],
            timeout_s=2 * limits.cpu_s + 10,
            meter=meter,
        )

    def _memory_limit(self, done: str) -> CompileLimitError:
        memory_bytes = self._limits.memory_bytes
        return CompileLimitError(
            f"the module cannot be {done} within {memory_bytes} bytes of memory",
            hint=setting_hint("admission.memory_bytes", 2 * memory_bytes),
        )

    def _check_end(self, report: ChildReport, done: str) -> None:
        """Raise the error for a child's end, unless it succeeded."""
        if not report.returncode:
            return
        limits = self._limits
        log.info(
            "child failed returncode=%d signal=%s stderr=%r",
            report.returncode,
            report.signal_name,
            report.stderr[-500:],
        )
        if report.timed_out or report.signal_name == "SIGXCPU":
            error = _OverloadedError if report.timed_out else CompileLimitError
            raise error(
                f"the module cannot be {done} within {limits.cpu_s} s of processor time",
                hint=setting_hint("admission.cpu_s", 2 * limits.cpu_s),
            )
        if ran_out_of_memory(report.stderr):
            raise self._memory_limit(done)
        if report.signal_name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP"):
            raise RefusedError("compile_failed", f"the module ended its compiler ({report.signal_name})")
        if report.signal_name == "SIGKILL":  # its own limit of processor time is SIGXCPU first
            raise SandboxError(
                f"the module was not {done}: the process was {kills().explain()}",
                hint="give the daemon more memory, or lower admission.memory_bytes",
            )
        if report.signal_name is not None:
            raise SandboxError(
                f"the module was not {done}: something killed the process ({report.signal_name})"
            )
        raise SandboxError(
            f"a child process failed with exit code {report.returncode}: {reason(report.stderr)}",
            hint=shortage(report.stderr),
        )
