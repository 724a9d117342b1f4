"""Runs one job on an admitted program, in a worker process.

The worker is killed when its wall time ends, when the caller cancels, or when it sends what no worker sends.
However it dies, there is an outcome.
"""

from __future__ import annotations

import collections
import itertools
import json
import operator
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime

import attrs

from plasm_core.config import SandboxConfig
from plasm_core.engine import TRAP_KINDS
from plasm_core.errors import RefusedError, SandboxError
from plasm_core.printable import cleaned
from plasm_core.records.manifest import JobInput, Manifest
from plasm_core.records.outcome import Outcome
from plasm_core.sandbox import frames
from plasm_core.sandbox.admission import Program
from plasm_core.sandbox.blob import sealed_blob
from plasm_core.sandbox.child import signal_name
from plasm_core.sandbox.killed import kills
from plasm_core.sandbox.pool import Worker, program_key, workers_for
from plasm_core.stopwatch import Stopwatch

OutputSink = Callable[[int, bytes], None]
"""Takes a stream, 1 or 2, and some bytes of it. It must not wait for a client."""

MAX_SHARED_WORKERS = 32
SHARED_BYTES = 64 << 20
"""What a shared worker takes while it has no job: the engine, its code, an instance that has not run."""
MAX_ARGUMENT_BYTES = 1 << 20
_POLL_S = 0.2
_DYING_S, _DYING_PAUSE_S = 2.0, 0.005
_RECEIVE_BYTES = 1 << 18
_GATHER_S = 0.005
"""Small pieces of output are gathered for so long: each delivery costs the node the same, however small it is."""
_GATHER_BELOW_BYTES = 1 << 16
_AT_ONCE = 32
"""So many deliveries of a run come as soon as they are there."""
_NODE_SHARE = 0.4
"""What all runs together may take of one processor in the node's own process, to receive and keep their output."""
_NODE_BURST_S = 0.1


@attrs.frozen(kw_only=True)
class StdinFile:
    """A job's standard input, in a private file that nobody writes to any more."""

    fd: int
    size_bytes: int


@attrs.frozen(kw_only=True)
class Run:
    """How a run ended and what it took. `gas_used` is 0 where the worker could not say.

    `finished_at` is `started_at` and the wall time, whatever became of the wall clock in between.
    """

    outcome: Outcome
    gas_used: int
    started_at: datetime
    finished_at: datetime
    wall_time_s: float
    cpu_time_s: float
    peak_memory_bytes: int


class Executor:
    """Runs jobs on workers: each on a fresh one, or, with isolation `shared`, on a client's own."""

    def __init__(self, config: SandboxConfig) -> None:
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            raise SandboxError(
                "this process ignores SIGCHLD, so it cannot learn how a worker ends",
                hint="call signal.signal(signal.SIGCHLD, signal.SIG_DFL) first",
            )
        self.isolation = config.isolation
        self._jobs = config.jobs_per_shared_worker if config.isolation == "shared" else 1
        self._workers = workers_for(config)
        self._shared: collections.OrderedDict[Worker, None] = collections.OrderedDict()
        self._ending: list[int] = []
        self._running = 0
        self._lock = threading.Lock()
        self._spare_bytes = float("inf")
        kills()  # what has been killed before is not our workers

    @property
    def idle_bytes(self) -> int:
        """The memory that zygotes and idle workers take, which no job runs in."""
        with self._lock:
            return self._workers.idle_bytes + len(self._shared) * SHARED_BYTES

    def make_room(self, spare_bytes: int) -> None:
        """Let zygotes and idle workers take no more memory than that, now or later. Quick: they end elsewhere."""
        self._spare_bytes = spare_bytes
        self._workers.spare_bytes = spare_bytes

    def _discard_beyond(self, spare_bytes: float) -> None:
        """End idle shared workers, the longest idle first, until they fit into what is spare."""
        discarded = []
        with self._lock:
            while self._shared and len(self._shared) * SHARED_BYTES > spare_bytes:
                discarded.append(self._shared.popitem(last=False)[0])
        for worker in discarded:
            worker.discard()

    @property
    def missing(self) -> dict[str, str]:
        """The sandbox layers that the last worker lacked, and why."""
        return self._workers.missing

    def run(
        self,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        *,
        client: str = "",
        cancelled: threading.Event | None = None,
        stdin: StdinFile | None = None,
        close_program: bool = False,
    ) -> Run:
        """Run a job to its end. `client` tells whose it is: shared workers serve one client's jobs only.

        `stdin` is standard input in an open file, which stays the caller's, in place of that in `inputs`.
        `close_program`: give the program back as soon as a worker has it, and so the memory that it takes.

        Raises: `RefusedError` if args and env are too large; `SandboxError` if no worker can be had.
        """
        if sum(map(len, (*inputs.args, *inputs.env))) > MAX_ARGUMENT_BYTES:
            raise RefusedError("input_too_large", f"args and env have more than {MAX_ARGUMENT_BYTES} bytes")
        with self._lock:
            self._running += 1
        try:
            for _ in range(3):
                worker = self._take(program, manifest, client)
                run = _Supervision(
                    self, worker, program, manifest, inputs, output, cancelled, stdin, close_program
                ).run()
                if run is not None:
                    return run
        finally:
            with self._lock:
                self._running -= 1
        raise SandboxError("three workers ended before they took the job")

    @property
    def node_share(self) -> float:
        """What one run may take of a processor in this process now."""
        return _NODE_SHARE / max(1, self._running)

    def _take(self, program: Program, manifest: Manifest, client: str) -> Worker:
        self._discard_beyond(self._spare_bytes)
        jobs = min(self._jobs, program.runtime.jobs_per_worker)
        if jobs == 1:
            return self._workers.take(program, jobs=1)
        key = json.dumps([client, program_key(program), manifest.limits.memory_bytes])
        with self._lock:
            found = next((worker for worker in self._shared if worker.key == key), None)
            if found is not None:
                del self._shared[found]
        if found is not None:
            if found.is_silent():
                return found
            found.discard()
        worker = self._workers.take(program, jobs=jobs)
        worker.key, worker.jobs = key, jobs
        return worker

    def keep(self, worker: Worker) -> bool:
        """Keep a shared worker for its client's next job. Return whether it was kept."""
        worker.served += 1
        if worker.served >= worker.jobs:
            return False
        with self._lock:
            self._shared[worker] = None
        self._discard_beyond(min(self._spare_bytes, MAX_SHARED_WORKERS * SHARED_BYTES))
        return True

    def reap_later(self, pid: int) -> None:
        """Take over a worker that was killed, and reap those whose end has come."""
        with self._lock:
            self._ending.append(pid)
            self._ending = [pid for pid in self._ending if os.waitpid(pid, os.WNOHANG)[0] == 0]

    def close(self) -> None:
        """End all idle workers, and reap those that are ending."""
        with self._lock:
            for pid in self._ending:
                os.waitpid(pid, 0)
            self._ending = []
            for worker in self._shared:
                worker.discard()
            self._shared.clear()
        self._workers.close()


class _Supervision:
    """One job on one worker, seen from outside."""

    def __init__(
        self,
        executor: Executor,
        worker: Worker,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        cancelled: threading.Event | None,
        stdin: StdinFile | None,
        close_program: bool,
    ) -> None:
        self.stdin = stdin
        self.close_program = close_program
        self.executor = executor
        self.worker = worker
        self.program = program
        self.manifest = manifest
        self.inputs = inputs
        self.output = output
        self.cancelled = cancelled
        limit = manifest.limits.output_bytes
        self.left = {frames.STDOUT: limit, frames.STDERR: limit}
        self.answer: _Answer | None = None
        self.is_lost = False  # its socket ended before there was an answer
        self.died = False  # of itself, not by our hand

    def run(self) -> Run | None:
        """Supervise the job. Return None if the worker died before it took it: nothing ran."""
        watch = Stopwatch()
        deadline = time.monotonic() + self.manifest.wall_time_s
        taken = False
        reason: Outcome | None = None
        try:
            taken = self._send_job(deadline)
            if taken:
                if self.close_program:
                    self.program.close()
                reason = self._receive(deadline)
        finally:
            returncode = self._part()
        if not taken:
            return None
        answer = self.answer
        if answer is None:
            answer = _Answer(outcome=self._explained(reason, returncode), gas_used=0)
        finished_at, wall_time_s = watch.read()
        return Run(
            outcome=answer.outcome,
            gas_used=answer.gas_used,
            started_at=watch.started_at,
            finished_at=finished_at,
            wall_time_s=wall_time_s,
            cpu_time_s=answer.cpu_time_s,
            peak_memory_bytes=answer.peak_memory * (1 if sys.platform == "darwin" else 1024),
        )

    def _part(self) -> int:
        """Keep the worker or end it. Return its exit code if it died without an answer."""
        worker = self.worker
        if self.answer is not None and worker.key and self.executor.keep(worker):
            return 0
        worker.sock.close()
        if self.answer is not None:
            # Nothing depends on how it ends, and ending takes a while: it is reaped later.
            os.kill(worker.pid, signal.SIGKILL)
            self.executor.reap_later(worker.pid)
            return 0
        self.died = _has_ended(worker.pid, _DYING_S if self.is_lost else 0)
        os.kill(worker.pid, signal.SIGKILL)  # changes nothing if it is dead already
        return os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])

    def _job(self) -> bytes:
        manifest, limits = self.manifest, self.manifest.limits
        flags = frames.HAS_START if self.program.info.has_start else 0
        flags |= frames.CLOCK_REAL if "clock.real" in manifest.capabilities else 0
        flags |= frames.RANDOM_REAL if "random.real" in manifest.capabilities else 0
        body = frames.pack_job(
            gas=limits.gas,
            memory_bytes=limits.memory_bytes,
            output_bytes=limits.output_bytes,
            stdin_bytes=len(self.inputs.stdin) if self.stdin is None else self.stdin.size_bytes,
            # A backstop for the wall time, which cannot be less. A shared worker's adds up.
            cpu_s=86_400 if self.worker.key else manifest.wall_time_s + 5,
            flags=flags,
            seed=bytes.fromhex(manifest.seed),
            args=self.inputs.args,
            env=self.inputs.env,
            number=self.worker.served,
        )
        return frames.frame(frames.JOB, body)

    def _send_job(self, deadline: float) -> bool:
        """Send the job. Return whether the worker lived to take it."""
        sock = self.worker.sock
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        job = self._job()
        try:
            made = (
                [sealed_blob("plasm-stdin", [self.inputs.stdin])]
                if self.stdin is None and self.inputs.stdin
                else []
            )
        except OSError as exc:
            raise SandboxError(f"cannot hand standard input on: {exc.strerror}") from exc
        fds = [self.stdin.fd] if self.stdin is not None and self.stdin.size_bytes else made
        try:
            sent = socket.send_fds(sock, [job], fds) if fds else 0
            if sent < len(job):  # sending nothing fails too, on a worker that has done its job by now
                sock.sendall(job[sent:])
        except OSError:
            return False
        finally:
            for fd in made:
                os.close(fd)
        return True

    def _receive(self, deadline: float) -> Outcome | None:
        """Take what comes until there is an answer. Return why the worker must be killed, if it must."""
        sock = self.worker.sock
        parser = frames.WorkerFrames()
        pace = _Pace(self.executor)
        outputs: list[tuple[int, bytes]] = []
        while self.answer is None:
            if self.cancelled is not None and self.cancelled.is_set():
                return Outcome(kind="cancelled", detail="by its owner")
            left = deadline - time.monotonic()
            if left <= 0:
                return Outcome(kind="timed_out", detail=f"after {self.manifest.wall_time_s} s of wall time")
            if not pace.rest(min(left, _POLL_S)):
                continue
            sock.settimeout(left if self.cancelled is None else min(left, _POLL_S))
            try:
                data = sock.recv(_RECEIVE_BYTES)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self.is_lost = True
                return None
            try:
                for kind, body in parser.feed(data):
                    self._check(kind, body)
                    if kind != frames.OUTCOME:
                        outputs.append((kind, body))
            except ValueError as exc:
                self.answer = None
                return Outcome(kind="system_error", detail=printable(f"the worker sent nonsense: {exc}"))
            finally:
                for kind, group in itertools.groupby(outputs, key=operator.itemgetter(0)):
                    self.output(1 if kind == frames.STDOUT else 2, b"".join(body for _, body in group))
                outputs.clear()
            pace.delivered(len(data))
        return None

    def _check(self, kind: int, body: bytes) -> None:
        """Take an outcome; count output. Raises: ValueError on what no honest worker sends."""
        if self.answer is not None:
            raise ValueError("something behind the outcome")
        if kind == frames.OUTCOME:
            self.answer = _answer(body, self.manifest, self.worker.served)
            return
        self.left[kind] -= len(body)
        if self.left[kind] < 0:
            raise ValueError("more output than the limit")

    def _explained(self, reason: Outcome | None, returncode: int) -> Outcome:
        """Return the outcome of a worker that gave none."""
        if reason is not None:
            return reason
        if returncode == -signal.SIGXCPU:
            return Outcome(kind="timed_out", detail="of processor time")
        if not self.died:
            return Outcome(kind="system_error", detail="the worker closed its socket before it had an answer")
        if returncode == -signal.SIGKILL:
            return Outcome(kind="system_error", detail=f"the worker was {kills().explain()}")
        how = signal_name(-returncode) if returncode < 0 else f"exit code {returncode}"
        return Outcome(kind="system_error", detail=f"the worker died ({how})")


def _has_ended(pid: int, patience_s: float) -> bool:
    """Return whether a child has ended by itself; its status stays to be read. A socket closes a moment before."""
    deadline = time.monotonic() + patience_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_DYING_PAUSE_S)
    return True


class _Pace:
    """How fast output is taken from one worker. It waits in its socket meanwhile, and then in the guest.

    A guest pays gas for the bytes that it writes, and the node's process pays for each delivery: a hash, a write, a
    turn of its loop for those who follow. Only processor time is bounded here; who reads slowly holds up nobody.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._at = time.monotonic()
        self._cpu_s = time.thread_time()
        self._credit_s = _NODE_BURST_S
        self._again_at = 0.0
        self._deliveries = 0

    def delivered(self, size_bytes: int) -> None:
        """Take note of a delivery."""
        now, cpu_s = time.monotonic(), time.thread_time()
        share = self._executor.node_share
        grown_s = self._credit_s + (now - self._at) * share
        self._credit_s = min(_NODE_BURST_S, grown_s) - (cpu_s - self._cpu_s)
        self._at, self._cpu_s = now, cpu_s
        self._again_at = now + max(0.0, -self._credit_s / share)
        self._deliveries += 1
        if size_bytes < _GATHER_BELOW_BYTES and self._deliveries > _AT_ONCE:
            self._again_at = max(self._again_at, now + _GATHER_S)

    def rest(self, longest_s: float) -> bool:
        """Wait until it may go on, no longer than so long, and return whether it may."""
        left_s = self._again_at - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, longest_s))
        return left_s <= longest_s


@attrs.frozen(kw_only=True)
class _Answer:
    """What a worker said of its job. `peak_memory` is in the platform's unit."""

    outcome: Outcome
    gas_used: int
    cpu_time_s: float = 0.0
    peak_memory: int = 0


def _answer(body: bytes, manifest: Manifest, number: int) -> _Answer:
    """Read an outcome. Raises: ValueError on what no honest worker sends."""
    kind, code, trap, gas_used, cpu_us, peak, detail = frames.unpack_outcome(body, number)
    if gas_used > manifest.limits.gas:
        raise ValueError("gas beyond the limit")
    if trap >= len(TRAP_KINDS):
        raise ValueError("an unknown trap")
    if cpu_us > 10**15 or peak > 2**50:
        raise ValueError("impossible usage")
    outcome = Outcome(
        kind=kind,
        code=code if kind == "exited" else None,
        trap=TRAP_KINDS[trap] if kind == "trapped" else None,
        detail=printable(detail) if kind == "system_error" else None,
    )
    return _Answer(outcome=outcome, gas_used=gas_used, cpu_time_s=cpu_us / 1e6, peak_memory=peak)


def printable(text: str) -> str:
    """Return a text as `Outcome.detail` takes it: no control characters, not too long."""
    return cleaned(text, maximum=500)
