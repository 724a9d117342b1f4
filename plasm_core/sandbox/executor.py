"""Runs one job on an admitted program, in a worker process of its own.

The worker is killed when its wall time ends, when the caller cancels, or when it sends what no worker sends.
However it dies, there is an outcome.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import attrs

from plasm_core.engine import TRAP_KINDS
from plasm_core.records.manifest import JobInput, Manifest
from plasm_core.records.outcome import RECHECKABLE, Outcome
from plasm_core.sandbox import frames
from plasm_core.sandbox.admission import Program
from plasm_core.sandbox.blob import sealed_blob
from plasm_core.sandbox.child import start_child, tail

OutputSink = Callable[[int, bytes], None]
"""Takes a stream, 1 or 2, and some bytes of it. It must not wait for a client."""

_POLL_S = 0.2
_RECEIVE_BYTES = 1 << 18


@attrs.frozen(kw_only=True)
class Run:
    """How a run ended and what it took. `gas_used` is 0 where the worker could not say."""

    outcome: Outcome
    gas_used: int
    started_at: datetime
    finished_at: datetime
    wall_time_s: float
    cpu_time_s: float
    peak_memory_bytes: int


class Executor:
    """Runs jobs, each in a fresh process."""

    isolation = "process"

    def run(
        self,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        *,
        cancelled: threading.Event | None = None,
    ) -> Run:
        """Run a job to its end. Raises: `SandboxError` if no worker can be started."""
        return _Supervision(program, manifest, inputs, output, cancelled or threading.Event()).run()


class _Supervision:
    """One worker's life, seen from outside."""

    def __init__(
        self,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        cancelled: threading.Event,
    ) -> None:
        self.program = program
        self.manifest = manifest
        self.inputs = inputs
        self.output = output
        self.cancelled = cancelled
        limit = manifest.limits.output_bytes
        self.left = {frames.STDOUT: limit, frames.STDERR: limit}
        self.answer: tuple[Outcome, int] | None = None

    def run(self) -> Run:
        started_at = datetime.now(timezone.utc)
        started = time.monotonic()
        deadline = started + self.manifest.wall_time_s
        ours, theirs = socket.socketpair()
        with ours, tempfile.TemporaryFile() as stderr:
            with theirs:
                process = start_child(
                    self.program.runtime.python(),
                    "plasm_core.sandbox.worker",
                    self._spec(theirs.fileno()),
                    pass_fds=[theirs.fileno(), self.program.artefact_fd],
                    stdout=stderr,
                    stderr=stderr,
                )
            try:
                reason = self._talk(ours, deadline)
                if reason is None and self.answer is None:
                    reason = Outcome(kind="system_error", detail="the worker ended without an outcome")
            finally:
                if self.answer is None:
                    process.kill()
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            outcome, gas_used = self.answer or (self._explained(reason, process.returncode, tail(stderr)), 0)
        return Run(
            outcome=outcome,
            gas_used=gas_used,
            started_at=started_at,
            finished_at=datetime.now(timezone.utc),
            wall_time_s=time.monotonic() - started,
            cpu_time_s=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024),
        )

    def _spec(self, socket_fd: int) -> dict[str, Any]:
        runtime = self.program.runtime
        return {
            "entry": runtime.entry,
            "options": runtime.options(),
            "socket_fd": socket_fd,
            "artefact_fd": self.program.artefact_fd,
            "cpu_s": self.manifest.wall_time_s + 5,
            "memory_bytes": self.manifest.limits.memory_bytes,
        }

    def _job(self) -> bytes:
        limits = self.manifest.limits
        job = {
            "args": [base64.b64encode(item).decode() for item in self.inputs.args],
            "env": [base64.b64encode(item).decode() for item in self.inputs.env],
            "seed": self.manifest.seed,
            "gas": limits.gas,
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "capabilities": list(self.manifest.capabilities),
            "has_start": self.program.info.has_start,
        }
        return frames.frame(frames.JOB, json.dumps(job).encode())

    def _send_job(self, sock: socket.socket) -> None:
        job = self._job()
        fds = [sealed_blob("plasm-stdin", [self.inputs.stdin])] if self.inputs.stdin else []
        try:
            sent = socket.send_fds(sock, [job], fds)
        finally:
            for fd in fds:
                os.close(fd)
        sock.sendall(job[sent:])

    def _talk(self, sock: socket.socket, deadline: float) -> Outcome | None:
        """Send the job, take what comes back. Return why the worker must be killed, if it must."""
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            self._send_job(sock)
        except TimeoutError:
            return self._timed_out()
        except OSError:
            return None  # it died before it took its job
        parser = frames.WorkerFrames()
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            while self.answer is None:
                if self.cancelled.is_set():
                    return Outcome(kind="cancelled", detail="by its owner")
                left = deadline - time.monotonic()
                if left <= 0:
                    return self._timed_out()
                if not selector.select(min(left, _POLL_S)):
                    continue
                try:
                    data = sock.recv(_RECEIVE_BYTES)
                    if not data:
                        return None
                    for kind, body in parser.feed(data):
                        self._take(kind, body)
                except (ValueError, KeyError, TypeError) as exc:
                    return Outcome(kind="system_error", detail=f"the worker sent nonsense: {exc}"[:500])
                except ConnectionError:
                    return None
        return None

    def _timed_out(self) -> Outcome:
        return Outcome(kind="timed_out", detail=f"after {self.manifest.wall_time_s} s of wall time")

    def _take(self, kind: int, body: bytes) -> None:
        if self.answer is not None:
            raise ValueError("something behind the outcome")
        if kind == frames.OUTCOME:
            self.answer = self._answer(json.loads(body))
            return
        self.left[kind] -= len(body)
        if self.left[kind] < 0:
            raise ValueError("more output than the limit")
        self.output(1 if kind == frames.STDOUT else 2, body)

    def _answer(self, value: dict[str, Any]) -> tuple[Outcome, int]:
        """Read an outcome. Raises ValueError, KeyError or TypeError on what no honest worker sends."""
        gas_used = value["gas_used"]
        if not isinstance(gas_used, int) or not 0 <= gas_used <= self.manifest.limits.gas:
            raise ValueError("gas beyond the limit")
        kind = value["kind"]
        if kind not in (*RECHECKABLE, "system_error"):
            raise ValueError("an outcome that is not the worker's to give")
        trap = value.get("trap")
        if trap is not None and trap not in TRAP_KINDS:
            raise ValueError("an unknown trap")
        return Outcome(kind=kind, code=value.get("code"), trap=trap, detail=value.get("detail")), gas_used

    def _explained(self, reason: Outcome | None, returncode: int, stderr: str) -> Outcome:
        """Return the outcome of a worker that gave none."""
        assert reason is not None
        if reason.kind != "system_error" or returncode == -signal.SIGKILL:
            return reason
        if returncode == -signal.SIGXCPU:
            return Outcome(kind="timed_out", detail="of processor time")
        how = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
        last = stderr.splitlines()[-1] if stderr else ""
        printable = "".join(char for char in f"the worker died ({how}) {last}" if char.isprintable())
        return Outcome(kind="system_error", detail=printable.strip()[:500])
