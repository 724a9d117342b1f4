"""Run jobs on an executor of one's own, on real engines and on the hostile one."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from plasm_core.config import AdmissionLimits, SandboxConfig
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import JobInput, Limits, Outcome, manifest_for
from plasm_core.sandbox.admission.admission import Admission
from plasm_core.sandbox.admission.cache import Cache
from plasm_core.sandbox.process.child import Meter, unmetered
from plasm_core.sandbox.process.executor import Executor
from plasm_core.sandbox.program import Program
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from plasm_runtime_wasmtime.validator import WasmtimeValidator
from tests.support.hostile import MODULE, HostileRuntime, program_of

AMPLE_GAS = 1 << 50
"""More than any test waits for."""


@attrs.frozen(kw_only=True)
class Job:
    """A job that ran."""

    outcome: Outcome
    gas_used: int
    stdout: bytes
    stderr: bytes


class Lab:
    """An executor and the programs it runs."""

    def __init__(self, directory: Path, config: SandboxConfig) -> None:
        self.executor = Executor(config)
        self._cache = Cache(directory, bytes(32), 1 << 30)
        self._programs = contextlib.ExitStack()

    def close(self) -> None:
        """End its processes."""
        self.executor.close()
        self._programs.close()

    def admit(self, module: bytes, runtime: Runtime | None = None) -> Program:
        """Admit a module, for wasmtime if no runtime is given."""
        admission = Admission(
            validator=WasmtimeValidator(),
            runtime=runtime or WasmtimeRuntime(),
            cache=self._cache,
            limits=AdmissionLimits(),
        )
        limits = Limits(gas=1, memory_bytes=1 << 32, output_bytes=0)
        return self._programs.enter_context(admission.admit(module, limits))

    def hostile(self, module: bytes = MODULE) -> Program:
        """Return a program for the hostile engine. Programs of different modules differ."""
        return self._programs.enter_context(program_of(HostileRuntime(), module=module))

    def run(
        self,
        program: Program,
        *,
        args: Sequence[str] = (),
        stdin: bytes = b"",
        gas: int = AMPLE_GAS,
        memory_bytes: int = 16 << 20,
        output_bytes: int = 64 << 20,
        wall_time_s: int = 60,
        client: str = "",
        cancelled: threading.Event | None = None,
        output: Callable[[int, bytes], None] | None = None,
        meter: Meter = unmetered,
    ) -> Job:
        """Run a job. `output` takes what it writes, which otherwise is in the answer."""
        inputs = JobInput(args=tuple(arg.encode() for arg in args), stdin=stdin)
        limits = Limits(gas=gas, memory_bytes=memory_bytes, output_bytes=output_bytes)
        manifest = manifest_for(b"", inputs, limits=limits, wall_time_s=wall_time_s)
        streams = {1: bytearray(), 2: bytearray()}

        def take(stream: int, data: bytes) -> None:
            streams[stream] += data

        run = self.executor.run(
            program, manifest, inputs, output or take, client=client, cancelled=cancelled, meter=meter
        )
        return Job(
            outcome=run.outcome,
            gas_used=run.gas_used,
            stdout=bytes(streams[1]),
            stderr=bytes(streams[2]),
        )

    def process(self, program: Program, *, client: str = "", memory_bytes: int = 16 << 20) -> int:
        """Run a job on the hostile engine. Return its process."""
        answer = self.run(program, args=["process"], client=client, memory_bytes=memory_bytes)
        return int(json.loads(answer.stdout)["detail"])

    @contextlib.contextmanager
    def running(
        self, program: Program, *, wall_time_s: int = 60, client: str = "", stdin: bytes = b""
    ) -> Iterator[tuple[list[Job], threading.Event]]:
        """Start a job that writes something and never ends; go on once it has. Give where its end will be put.

        The event cancels it, and is set at the end.
        """
        ended: list[Job] = []
        running, cancelled = threading.Event(), threading.Event()

        def work() -> None:
            job = self.run(
                program,
                stdin=stdin,
                wall_time_s=wall_time_s,
                client=client,
                cancelled=cancelled,
                output=lambda _stream, _data: running.set(),
            )
            ended.append(job)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert running.wait(20), "the job did not start"
            yield ended, cancelled
        finally:
            cancelled.set()
            thread.join()


@contextlib.contextmanager
def open_lab(
    directory: Path,
    *,
    isolation: str = "process",
    zygotes: int = 8,
    ahead: int = 8,
    jobs_per_zygote: int = 10_000,
    jobs_per_shared_worker: int = 1_000,
) -> Iterator[Lab]:
    """Give a lab."""
    config = SandboxConfig(
        isolation=isolation,
        zygotes=zygotes,
        ahead=ahead,
        jobs_per_zygote=jobs_per_zygote,
        jobs_per_shared_worker=jobs_per_shared_worker,
    )
    lab = Lab(directory, config)
    try:
        yield lab
    finally:
        lab.close()
