"""Admission: from a module's bytes to an artefact that a worker can run, or a refusal that says why.

The caller's process never parses a module. Two children do the work: one validates and meters, one compiles,
each under limits; what they make is cached.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from plasm_core.abc import Runtime, Validator, WorkerComponent
from plasm_core.config import AdmissionLimits
from plasm_core.engine import PAGE_BYTES
from plasm_core.errors import BadModuleError, CompileLimitError, RefusedError, SandboxError
from plasm_core.records.converter import encode_json, parse_json, structure
from plasm_core.records.digest import sha256
from plasm_core.records.manifest import GAS_SCHEDULE, PROFILE, Limits
from plasm_core.sandbox import filters
from plasm_core.sandbox.blob import open_blob, seal, sealed_blob
from plasm_core.sandbox.cache import Cache
from plasm_core.sandbox.child import (
    MAX_STATUS_BYTES,
    ChildReport,
    Meter,
    reason,
    run_child,
    shortage,
    unmetered,
)
from plasm_core.sandbox.descriptor import write_all
from plasm_core.sandbox.killed import kills
from plasm_core.sandbox.prepare import ModuleInfo, Preparation
from plasm_core.sandbox.refusals import FORGET_S, Refusals

log = logging.getLogger(__name__)

_MEMORY_FEATURES = {"large-memory": 32_768, "whole-memory": 65_535}
"""Feature → the most pages a memory may come to without it. wasm3 grows to 2 GiB, wasmer to all but the last page."""

Progress = Callable[[str], None]


def _silent(_phase: str) -> None:
    pass


_BUSY_S = 300.0


class _OverloadedError(CompileLimitError):
    """The machine was too busy for a module, which may be compiled another time."""


@attrs.define
class Program:
    """An admitted module: what is known of it, and the artefact of one runtime, by descriptor."""

    digest: str
    info: ModuleInfo
    runtime: Runtime
    artefact_fd: int

    def close(self) -> None:
        """Give the artefact back."""
        if self.artefact_fd >= 0:
            os.close(self.artefact_fd)
            self.artefact_fd = -1

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Admission:
    """Prepares and compiles modules for one runtime."""

    def __init__(
        self,
        *,
        validator: Validator,
        runtime: Runtime,
        cache: Cache,
        limits: AdmissionLimits,
        refusals: Refusals | None = None,
    ) -> None:
        self._validator = validator
        self._runtime = runtime
        self._cache = cache
        self._limits = limits
        self._refusals = refusals if refusals is not None else Refusals()
        self._inject_nans = not runtime.canonical_nans
        self._trap_checks = not runtime.explains_traps

    def admit(
        self, module: bytes, limits: Limits, *, progress: Progress = _silent, meter: Meter = unmetered
    ) -> Program:
        """Return the program of a module, fit for a task's limits. `meter` is told of the processor time it takes.

        Raises: `RefusedError` with a stable reason; `SandboxError` when a child cannot be started.
        """
        return self.admit_stored(sha256(module), lambda: module, limits, progress=progress, meter=meter)

    def admit_stored(
        self,
        digest: str,
        read: Callable[[], bytes],
        limits: Limits,
        *,
        progress: Progress = _silent,
        meter: Meter = unmetered,
    ) -> Program:
        """Do the same for a module that is read only if the cache does not have what was made of it.

        `read` returns the bytes of that digest, checked. Raises: as `admit`, and what `read` raises.
        """
        with self._prepared(read, digest, progress, meter) as (info, metered_fd, offset):
            check_fit(info, self._runtime, limits)
            artefact = self._compiled(digest, metered_fd, offset, progress, meter)
        return Program(digest=digest, info=info, runtime=self._runtime, artefact_fd=artefact)

    def inspect(self, module: bytes) -> Preparation:
        """Validate and describe a module without compiling it, naming every problem.

        Raises: `RefusedError` if it is too large or takes too long to look at.
        """
        self._check_length(len(module))
        preparation, fd = self._prepare(module, unmetered)
        os.close(fd)
        return preparation

    # -- the two children

    @contextmanager
    def _prepared(
        self, read: Callable[[], bytes], digest: str, progress: Progress, meter: Meter
    ) -> Iterator[tuple[ModuleInfo, int, int]]:
        validator = self._validator
        variant = "prepared" + "/canonical" * self._inject_nans + "/trap-checks" * self._trap_checks
        name = _entry_name(variant, digest, validator.entry, validator.version(), validator.options())
        fd = self._cache.fetch(name)
        if fd is None:
            with self._remembering(name):
                progress("validating")
                module = read()
                self._check_length(len(module))
                preparation, code_fd = self._prepare(module, meter)
                del module
                try:
                    fd = _joined(preparation.checked(), code_fd)
                finally:
                    os.close(code_fd)
            self._cache.store(name, fd)
        try:
            info, offset = _split(fd)
            self._check_length(info.size_bytes)  # it may have been prepared under another limit
            yield info, fd, offset
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
            )

    def _prepare(self, module: bytes, meter: Meter) -> tuple[Preparation, int]:
        """Return what came of it, and a descriptor of the metered code, which the caller closes."""
        module_fd = sealed_blob("plasm-module", [module])
        code_fd = open_blob("plasm-metered")
        try:
            report = self._run(self._validator, "plasm_core.sandbox.prepare", module_fd, code_fd, meter)
            self._check_end(report, "validated")
            status = parse_json(report.status, record="preparation", maximum=MAX_STATUS_BYTES)
            return structure(status, Preparation, record="preparation"), code_fd
        except BaseException:
            os.close(code_fd)
            raise
        finally:
            os.close(module_fd)

    def _compiled(self, digest: str, metered_fd: int, offset: int, progress: Progress, meter: Meter) -> int:
        runtime = self._runtime
        name = _entry_name(
            f"compiled/{runtime.name}", digest, runtime.entry, runtime.version(), runtime.options()
        )
        fd = self._cache.fetch(name)
        if fd is None:
            with self._remembering(name):
                progress("compiling")
                fd = self._compile(metered_fd, offset, meter)
            self._cache.store(name, fd)
        return fd

    def _compile(self, metered_fd: int, offset: int, meter: Meter) -> int:
        """Return a sealed blob of the artefact."""
        runtime = self._runtime
        fd = open_blob("plasm-artefact")
        try:
            report = self._run(runtime, "plasm_core.sandbox.compiling", metered_fd, fd, meter, offset=offset)
            if report.returncode == 3:
                message = report.status.decode("utf-8", "replace")
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
        *,
        offset: int = 0,
    ) -> ChildReport:
        limits = self._limits
        return run_child(
            component.python(),
            main,
            {
                "entry": component.entry,
                "options": component.options(),
                "offset": offset,
                "canonical_nans": self._inject_nans,
                "trap_checks": self._trap_checks,
                "module_fd": module_fd,
                "out_fd": out_fd,
                "cpu_s": limits.cpu_s,
                "memory_bytes": limits.memory_bytes,
                "confinement": filters.confinement(
                    filters.compiling(threads=component.threads), file_bytes=limits.memory_bytes
                ),
            },
            pass_fds=[module_fd, out_fd],
            timeout_s=2 * limits.cpu_s + 10,
            meter=meter,
        )

    def _check_end(self, report: ChildReport, done: str) -> None:
        """Raise what a child's end means, unless it did its work."""
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
            raise error(f"the module cannot be {done} within {limits.cpu_s} s of processor time")
        if "memory allocation" in report.stderr or "MemoryError" in report.stderr:
            raise CompileLimitError(
                f"the module cannot be {done} within {limits.memory_bytes} bytes of memory"
            )
        if report.signal_name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL"):
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


def check_fit(info: ModuleInfo, runtime: Runtime, limits: Limits) -> None:
    """Refuse a module that the runtime cannot run, or that starts with more memory than it may have."""
    reach_pages = info.memory_reach_pages(limits.memory_bytes // PAGE_BYTES)
    beyond = {feature: pages for feature, pages in _MEMORY_FEATURES.items() if reach_pages > pages}
    needed = {*info.features, *beyond}
    lacking = sorted(needed - runtime.features)
    if lacking:
        raise RefusedError(
            "unsupported_feature",
            f"the runtime {runtime.name} cannot run a module that uses {', '.join(lacking)}",
            hint=_hint(info, {pages for feature, pages in beyond.items() if feature in lacking}),
        )
    if info.memory_min_pages * PAGE_BYTES > limits.memory_bytes:
        raise RefusedError(
            "memory_limit",
            f"the module starts with {info.memory_min_pages * PAGE_BYTES} bytes of memory, "
            f"more than the limit of {limits.memory_bytes}",
            hint="raise it with --limit memory=…",
        )


def _hint(info: ModuleInfo, too_many_pages: set[int]) -> str:
    """Return what helps who wants a module run. `too_many_pages`: what its memory may come to must not exceed."""
    hint = "choose another runtime with --runtime"
    least = min(too_many_pages, default=0)
    if least > info.memory_min_pages:
        hint += f", or a lower limit with --limit memory={least * PAGE_BYTES}"
    return hint


def _joined(info: ModuleInfo, metered_fd: int) -> int:
    """Return a sealed blob: u32le(length) ‖ the description ‖ the metered code."""
    head = encode_json(info)
    fd = open_blob("plasm-prepared")
    try:
        write_all(fd, len(head).to_bytes(4, "little") + head)
        offset = 0
        while chunk := os.pread(metered_fd, 1 << 20, offset):
            write_all(fd, chunk)
            offset += len(chunk)
        seal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _split(fd: int) -> tuple[ModuleInfo, int]:
    """Return the description in a prepared blob, and the offset of the metered code behind it."""
    length = int.from_bytes(os.pread(fd, 4, 0), "little")
    value = parse_json(os.pread(fd, length, 4), record="module description", maximum=MAX_STATUS_BYTES)
    return structure(value, ModuleInfo, record="module description"), 4 + length


def _entry_name(what: str, digest: str, entry: str, version: str, options: dict[str, object]) -> str:
    """Return a cache entry's name: all that its content depends on."""
    parts = [what, digest, PROFILE, GAS_SCHEDULE, _sources(), entry, version, _processor()]
    return json.dumps([*parts, options], sort_keys=True)


@functools.cache
def _sources() -> str:
    """Return a digest of the code that meters: a changed rewriter must not find its old work."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _processor() -> str:
    """Return what tells this processor's abilities from another's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {sha256(flags.encode())[:16]}"
