"""One new process for each job, where zygotes cannot be forked."""

from __future__ import annotations

import socket
import subprocess
from concurrent.futures import Executor
from typing import Any

from plasm_core.config import SandboxConfig
from plasm_core.errors import SandboxError
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.child import (
    START_S,
    Meter,
    child_file,
    reason,
    shortage,
    start_child,
    tail,
    unmetered,
)
from plasm_core.sandbox.process.idle_worker import Worker
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.sandbox.process.zygote_messages import READY_BYTES, unpack_ready
from plasm_core.sandbox.program import Program


class Spawner:
    """Starts one worker for each job, for engines that cannot be forked and platforms without the zygote's system calls.

    `starter`: the thread that starts the processes, if it must not be the caller's. The caller waits until the worker
    is ready, which may take long: no other job waits with it.
    """

    spare_bytes = float("inf")
    idle_bytes = 0

    def __init__(self, config: SandboxConfig, starter: Executor | None = None) -> None:
        self._config = config
        self._starter = starter
        self.missing: dict[str, str] = {}

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Start a worker. It serves one job, even if `jobs` allows more. Raises: `SandboxError`.

        `meter` gets the processor time, in seconds, of a worker that does not start.
        """
        with child_file() as stderr:
            ours, theirs = socket.socketpair()
            try:
                starting = self._starter and self._starter.submit(self._start, program, theirs, stderr)
                process = starting.result() if starting else self._start(program, theirs, stderr)
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            process.returncode = 0  # the caller that takes the worker reaps it, not subprocess
            worker = Worker(process.pid, ours)
            try:
                self.missing = _ready(ours)
                refuse_missing(self.missing, self._config)
            except (OSError, ValueError) as exc:
                meter(processor_time_s(process.pid))
                worker.discard()
                said = tail(stderr)
                how = (
                    f"it was not ready within {START_S:.0f} s"
                    if isinstance(exc, TimeoutError)
                    else reason(said)
                )
                raise SandboxError(
                    f"a worker of {program.runtime.name} did not start: {how}", hint=shortage(said)
                ) from None
            except SandboxError:
                meter(processor_time_s(process.pid))
                worker.discard()
                raise
        return worker

    def _start(self, program: Program, theirs: socket.socket, stderr: Any) -> subprocess.Popen[bytes]:
        return start_child(
            program.runtime.python(),
            "plasm_core.sandbox.process.single_worker",
            {
                "entry": program.runtime.entry,
                "options": program.runtime.options(),
                "socket_fd": theirs.fileno(),
                "artefact_fd": program.artefact_fd,
                "confinement": seccomp_filters.confinement(
                    seccomp_filters.loading_with_threads(), file_bytes=1 << 40
                ),
                "running_filter": seccomp_filters.running_just_in_time()["filter"],
            },
            title=f"plasm worker {program.runtime.name}",
            pass_fds=[theirs.fileno(), program.artefact_fd],
            stdout=stderr,
            stderr=stderr,
        )

    def close(self) -> None:
        """Do nothing: no process is idle."""


def _ready(sock: socket.socket) -> dict[str, str]:
    """Receive a worker's first message: the sandbox layers that it lacks. Raises: `OSError`, `ValueError`."""
    sock.settimeout(START_S)
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
        part = sock.recv(READY_BYTES)
        if not part or len(data) > READY_BYTES:
            raise ValueError("a worker that is not ready")
        data += part
    return unpack_ready(data[4:])


def refuse_missing(missing: dict[str, str], config: SandboxConfig) -> None:
    """Raise `SandboxError` if a layer is missing that the operator requires."""
    lacking = [f"{layer} ({missing[layer]})" for layer in config.require if layer in missing]
    if lacking:
        raise SandboxError(
            f"required sandbox layers are missing: {', '.join(lacking)}",
            hint="see plasm doctor; sandbox.require lists the layers that must be there",
        )
