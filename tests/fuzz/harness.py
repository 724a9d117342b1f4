"""Take modules through all a node does with them, each in a process forked for it, and note what must not be.

The process has all engines loaded: forking it takes a millisecond, starting one a hundred.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import re
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence

import attrs

from plasm_core.errors import PluginError, RefusedError
from plasm_core.plugins import loading
from plasm_core.plugins.engine import Engine, EngineFailure, HostedEngine
from plasm_core.plugins.interfaces import Runtime, Validator
from plasm_core.records import Limits
from plasm_core.sandbox.admission.fit import check_fit
from plasm_core.sandbox.admission.prepare import prepare
from plasm_core.sandbox.process import confinement, worker, worker_frames
from plasm_core.sandbox.process.child import signal_name
from plasm_core.sandbox.process.entry import make
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.sandbox.program import ModuleInfo
from plasm_core.trap_kinds import TRAP_KINDS

LIMITS = Limits(gas=200_000, memory_bytes=16 << 20, output_bytes=1 << 16)
HANG_S = 20.0
_STDIN = bytes(range(256)) * 16
_CHILD_MEMORY_BYTES = 2 << 30
_RUNTIMES: dict[str, tuple[str, dict[str, str]]] = {
    "wasmtime": ("wasmtime", {}),
    "pulley": ("wasmtime", {"target": "pulley64"}),
    "wasm3": ("wasm3", {}),
    "wasmer": ("wasmer", {}),
    "v8": ("v8", {}),
}
"""Engines by a name of our own: the runtime's, and its configuration."""
ENGINES = ("wasmtime", "pulley", "wasm3", "wasmer")
"""Those that are run unless others are named. V8 has threads: a module on it takes as long as twenty on these."""


@attrs.frozen(kw_only=True)
class Way:
    """How the rewriter makes code for an engine."""

    canonical_nans: bool
    trap_checks: bool
    lowered: frozenset[str]

    @classmethod
    def of(cls, runtime: Runtime) -> Way:
        """Return how it makes code for a runtime."""
        return cls(
            canonical_nans=not runtime.canonical_nans,
            trap_checks=not runtime.explains_traps,
            lowered=runtime.lowered,
        )


@attrs.frozen(kw_only=True)
class Finding:
    """Something that must not be. `what` is the same for what has the same cause, as far as can be told."""

    what: str
    detail: str


@attrs.frozen(kw_only=True)
class Report:
    """What came of one module: `verdict` is a word for the statistics."""

    verdict: str
    findings: list[Finding]


class Harness:
    """The validator and the engines, loaded once. `metered` is what becomes of metered code: nothing, but in tests."""

    def __init__(self, engines: Sequence[str] = ENGINES, *, hang_s: float = HANG_S) -> None:
        self.metered: Callable[[bytes], bytes] = lambda code: code
        self._hang_s = hang_s
        confinement.allow_deep_stack()
        validator = loading.create(Validator, "wasmtime", {})  # type: ignore[type-abstract]
        self.validate = make(validator.entry, validator.options()).validate
        self.runtimes: dict[str, tuple[Runtime, Engine | HostedEngine]] = {}
        for name, (plugin, table) in ((name, _RUNTIMES[name]) for name in engines):
            with contextlib.suppress(PluginError):
                runtime = loading.create(Runtime, plugin, table)  # type: ignore[type-abstract]
                if runtime.python() == validator.python():
                    self.runtimes[name] = (runtime, make(runtime.entry, runtime.options()))
        self._stdin = sealed_blob("stdin", [_STDIN])
        gc.freeze()

    # -- in the parent

    def examine(self, modules: Iterator[bytes], *, processes: int) -> Iterator[tuple[bytes, Report]]:
        """Examine modules, some at a time, and give the reports as they come."""
        running: dict[int, _Child] = {}
        poll = select.poll()
        more = True
        while more or running:
            while more and len(running) < processes:
                module = next(modules, None)
                if module is None:
                    more = False
                    break
                child = self._start(module)
                running[child.fd] = child
                poll.register(child.fd, select.POLLIN)
            for fd, _ in poll.poll(100):
                child = running[fd]
                if not child.read():
                    poll.unregister(fd)
                    del running[fd]
                    yield child.module, child.report()
            for child in running.values():
                child.check_time(self._hang_s)

    def _start(self, module: bytes) -> _Child:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(reading)
                silence = os.open(os.devnull, os.O_RDWR)
                os.dup2(silence, 1)
                os.dup2(silence, 2)
                confinement.limit_resources(cpu_s=60, memory_bytes=_CHILD_MEMORY_BYTES)
                data = json.dumps(attrs.asdict(self.look(module))).encode()
                while data:
                    data = data[os.write(writing, data) :]
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        return _Child(module, pid, reading)

    # -- in the child

    def look(self, module: bytes) -> Report:
        """Take a module through preparation and every engine that is for it."""
        findings: list[Finding] = []
        try:
            verdict = self._look(module, findings)
        except MemoryError:
            verdict = "out of memory"
        except Exception as exc:
            findings.append(_raised("preparing", exc))
            verdict = "raised"
        return Report(verdict=verdict, findings=findings)

    def _look(self, module: bytes, findings: list[Finding]) -> str:
        codes: dict[Way, bytes] = {}
        info: ModuleInfo | None = None
        reasons = []
        for way in {Way.of(runtime) for runtime, _ in self.runtimes.values()}:
            preparation, code = prepare(module, self.validate, **attrs.asdict(way))
            reasons.append([problem.reason for problem in preparation.problems])
            if preparation.problems:
                continue
            info = preparation.info
            code = codes[way] = self.metered(code)
            try:
                self.validate(code)
            except ValueError as exc:
                findings.append(Finding(what="metered code is not valid", detail=str(exc)))
        if any(other != reasons[0] for other in reasons):
            findings.append(Finding(what="two verdicts", detail=repr(reasons)))
        if info is None or findings:
            return f"refused: {reasons[0][0]}" if reasons[0] else "not valid when metered"
        ran: dict[str, tuple[object, ...]] = {}
        for name, (runtime, engine) in self.runtimes.items():
            try:
                check_fit(info, runtime, LIMITS)
            except RefusedError as exc:
                if exc.reason == "memory_limit":
                    return "refused: memory_limit"
                continue
            try:
                seen = self._run(engine, codes[Way.of(runtime)], info)
            except MemoryError:
                continue
            except Exception as exc:
                findings.append(_raised(f"running on {name}", exc))
                continue
            if isinstance(seen, str):
                findings.append(Finding(what=f"system_error on {name}: {_numberless(seen)}", detail=seen))
            else:
                ran[name] = seen
        if len(set(ran.values())) > 1:
            what = " ".join(f"{name}:{seen[0]}" for name, seen in ran.items())
            findings.append(Finding(what=f"engines disagree: {what}", detail=repr(ran)))
        if not ran:
            return "ran nowhere"
        return f"ran on {len(ran)}: {next(iter(ran.values()))[0]}"

    def _run(self, engine: Engine | HostedEngine, code: bytes, info: ModuleInfo) -> tuple[object, ...] | str:
        """Return what an engine makes of a module: outcome, gas and digests of its output, or a system error."""
        digests = {1: hashlib.sha256(), 2: hashlib.sha256()}
        job = worker_frames.WorkerJob(
            worker_frames.pack_job(
                gas=LIMITS.gas,
                memory_bytes=LIMITS.memory_bytes,
                output_bytes=LIMITS.output_bytes,
                stdin_bytes=len(_STDIN),
                cpu_s=60,
                flags=worker_frames.HAS_START if info.has_start else 0,
                seed=bytes(32),
                args=(b"one", b"two"),
                env=(b"NAME=value",),
            )
        )
        stdin = worker.FileStdin(self._stdin, len(_STDIN))

        def output(stream: int, data: bytes) -> None:
            digests[stream].update(data)

        try:
            if isinstance(engine, HostedEngine):  # its artefact is the module: loading compiles it
                packed = worker.run_hosted(engine.load(code), job, stdin, output)
            else:
                host, instance = worker.make_instance(engine.load(engine.compile(code)))
                packed = worker.run(instance, host, job, stdin, output)
        except EngineFailure as exc:
            return f"compiling: {exc}"
        kind, code_, trap, gas, _, _, detail = worker_frames.unpack_outcome(packed)
        if kind == "system_error":
            return detail
        word = f"trapped ({TRAP_KINDS[trap]})" if kind == "trapped" else kind
        return word, code_, gas, digests[1].hexdigest(), digests[2].hexdigest()


class _Child:
    """A process that examines one module."""

    def __init__(self, module: bytes, pid: int, fd: int) -> None:
        self.module = module
        self.fd = fd
        self._pid = pid
        self._data = b""
        self._started = time.monotonic()
        self._hung = False

    def read(self) -> bool:
        """Read what it says. Return whether there may be more."""
        data = os.read(self.fd, 1 << 16)
        self._data += data
        return bool(data)

    def check_time(self, hang_s: float) -> None:
        """End it if it hangs."""
        if not self._hung and time.monotonic() - self._started > hang_s:
            self._hung = True
            os.kill(self._pid, signal.SIGKILL)

    def report(self) -> Report:
        """Reap it, and return its report."""
        os.close(self.fd)
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        if self._hung:
            return _single("hangs", "longer than allowed")
        if status:
            how = signal_name(-status) if status < 0 else f"exit code {status}"
            return _single(f"dies: {how}", how)
        made = json.loads(self._data)
        return Report(verdict=made["verdict"], findings=[Finding(**item) for item in made["findings"]])


def _single(what: str, detail: str) -> Report:
    return Report(verdict=what, findings=[Finding(what=what, detail=detail)])


def _raised(where: str, exc: Exception) -> Finding:
    frame = traceback.extract_tb(exc.__traceback__)[-1]
    return Finding(
        what=f"raises {where}: {type(exc).__name__} in {frame.name}",
        detail="".join(traceback.format_exception(exc)),
    )


def _numberless(text: str) -> str:
    return re.sub(r"\d+", "N", text)[:200]
