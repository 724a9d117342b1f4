"""Supervises one job on one worker process, from sending the job to the worker's answer or death.

The worker is killed when its wall time ends, when the caller cancels, or when it sends an invalid frame. Every death
of a worker gives an outcome.
"""

from __future__ import annotations

import itertools
import operator
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

import attrs

from plasm_core.errors import SandboxError
from plasm_core.printable import cleaned
from plasm_core.records.files import path_bytes
from plasm_core.records.manifest import JobInput, Manifest
from plasm_core.records.outcome import Outcome
from plasm_core.records.output import OutputStream
from plasm_core.records.run import Run
from plasm_core.sandbox.process import worker_frames
from plasm_core.sandbox.process.child import Meter, signal_name, unmetered
from plasm_core.sandbox.process.collected_files import CollectedFiles
from plasm_core.sandbox.process.gas_note import GasNote
from plasm_core.sandbox.process.idle_worker import Worker
from plasm_core.sandbox.process.kill_cause import kills
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.sandbox.program import Program
from plasm_core.stopwatch import Stopwatch
from plasm_core.trap_kinds import TRAP_KINDS

OutputSink = Callable[[OutputStream, bytes], None]
"""Takes some bytes of an output. It must not wait for a client."""

_GIVING_UP = (signal.SIGABRT, signal.SIGTRAP)
"""How engines end their process where an allocation fails: those in Rust, and V8."""
_POLL_S = 0.2
_DYING_S, _DYING_PAUSE_S = 2.0, 0.005
_RECEIVE_BYTES = 1 << 18
_GATHER_S = 0.005
"""Small pieces of output are gathered for so long: each delivery costs the node the same, however small it is."""
_GATHER_BELOW_BYTES = 1 << 16
_AT_ONCE = 32
"""The number of deliveries of a run that are passed on without delay."""
_NODE_BURST_S = 0.1
_METER_S = 1.0
"""How often the worker's processor time is reported: a crash of the node loses at most so much of the charge."""
_STREAMS = {worker_frames.STDOUT: OutputStream.STDOUT, worker_frames.STDERR: OutputStream.STDERR}


@attrs.frozen(kw_only=True)
class StdinFile:
    """A job's standard input, in a private file that does not change any more."""

    fd: int
    size_bytes: int


class WorkerOwner(Protocol):
    """The executor, as a supervision uses it."""

    @property
    def node_share(self) -> float:
        """The share of one processor, 0 to 1, that one run may take in this process now."""

    def keep(self, worker: Worker) -> bool:
        """Keep a shared worker for its client's next job. Return whether it was kept."""

    def reap_later(self, pid: int) -> None:
        """Take over a worker that was killed."""


class Supervision:
    """One job on one worker, as the node's process supervises it."""

    def __init__(
        self,
        owner: WorkerOwner,
        worker: Worker,
        program: Program,
        manifest: Manifest,
        inputs: JobInput,
        output: OutputSink,
        cancelled: threading.Event | None,
        stdin: StdinFile | None,
        close_program: bool,
        files: CollectedFiles | None = None,
        meter: Meter = unmetered,
    ) -> None:
        self.files = files
        self.meter = meter
        self.began_s = worker.metered_s  # the processor time of a shared worker's earlier jobs
        self.stdin = stdin
        self.close_program = close_program
        self.owner = owner
        self.worker = worker
        self.program = program
        self.manifest = manifest
        self.inputs = inputs
        self.output = output
        self.cancelled = cancelled
        limit = manifest.limits.output_bytes
        self.left = {worker_frames.STDOUT: limit, worker_frames.STDERR: limit}
        self.answer: _Answer | None = None
        self.is_lost = False  # its socket ended before its answer
        self.died = False  # it ended by itself: we did not kill it
        self.noted_gas = 0  # what a worker that gave no answer used at least

    def run(self) -> Run | None:
        """Supervise the job to its end.

        Return None if the worker died before it received the job, so that nothing ran.
        """
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
        finished_at, wall_time_s = watch.read()
        if answer is None:
            # Time before the job, or in several threads, must not make the charge exceed the elapsed time.
            used_s = min(self.worker.metered_s - self.began_s, wall_time_s)
            answer = _Answer(
                outcome=self._explained(reason, returncode), gas_used=self.noted_gas, cpu_time_s=used_s
            )
        if self.files is not None and not answer.outcome.recheckable:
            self.files.discard()
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
        if self.answer is not None:
            self._tell_used(max(processor_time_s(worker.pid), self.began_s + self.answer.cpu_time_s))
        if self.answer is not None and worker.key and self.owner.keep(worker):
            return 0
        worker.sock.close()
        self.noted_gas = worker.noted_gas(self.manifest.limits.gas)
        worker.close_note()
        if self.answer is not None:
            # Its exit status is not needed, and ending takes time: it is reaped later.
            os.kill(worker.pid, signal.SIGKILL)
            self.owner.reap_later(worker.pid)
            return 0
        self.died = _has_ended(worker.pid, _DYING_S if self.is_lost else 0)
        os.kill(worker.pid, signal.SIGKILL)  # has no effect on a dead process
        _, status, usage = os.wait4(worker.pid, 0)
        self._tell_used(usage.ru_utime + usage.ru_stime)
        return os.waitstatus_to_exitcode(status)

    def _tell_used(self, total_s: float) -> None:
        """Tell the meter what the worker has used since the last call. `total_s`: since it started."""
        new_s = total_s - self.worker.metered_s
        if new_s > 0:
            self.worker.metered_s = total_s
            self.meter(new_s)

    def _job(self) -> bytes:
        manifest, limits = self.manifest, self.manifest.limits
        flags = worker_frames.HAS_START if self.program.info.has_start else 0
        flags |= worker_frames.CLOCK_REAL if "clock.real" in manifest.capabilities else 0
        flags |= worker_frames.RANDOM_REAL if "random.real" in manifest.capabilities else 0
        if self.inputs.stdin if self.stdin is None else self.stdin.size_bytes:
            flags |= worker_frames.HAS_STDIN
        flags |= worker_frames.HAS_FILES if self.files is not None else 0
        flags |= worker_frames.HAS_ENTRY if self.program.entry is not None else 0
        body = worker_frames.pack_job(
            gas=limits.gas,
            memory_bytes=limits.memory_bytes,
            output_bytes=limits.output_bytes,
            stdin_bytes=len(self.inputs.stdin) if self.stdin is None else self.stdin.size_bytes,
            # A second bound beside the wall time, never below it. A shared worker's limit grows with each job.
            cpu_s=86_400 if self.worker.key else manifest.wall_time_s + 5,
            flags=flags,
            seed=bytes.fromhex(manifest.seed),
            args=self.inputs.args,
            env=self.inputs.env,
            files=b"" if self.files is None else _packed(self.files),
            number=self.worker.served,
        )
        return worker_frames.frame(worker_frames.JOB, body)

    def _send_job(self, deadline: float) -> bool:
        """Send the job. Return whether the worker lived to take it."""
        sock = self.worker.sock
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        job = self._job()
        is_first = self.worker.note is None
        try:
            note = self.worker.note = self.worker.note or GasNote()
            note.clear()
            made = (
                [sealed_blob("plasm-stdin", [self.inputs.stdin])]
                if self.stdin is None and self.inputs.stdin
                else []
            )
        except OSError as exc:
            raise SandboxError(f"cannot hand a job on: {exc.strerror}") from exc
        fds = [self.stdin.fd] if self.stdin is not None and self.stdin.size_bytes else made
        if self.files is not None:
            fds = [*fds, self.files.pack.fd]
        if is_first:
            fds = [*fds, note.fd]
        try:
            sent = socket.send_fds(sock, [job], fds) if fds else 0
            if sent < len(job):  # sending zero bytes also fails if the worker has ended by now
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
        parser = worker_frames.WorkerFrames()
        pace = _Pace(self.owner)
        tell_at = time.monotonic() + _METER_S
        outputs: list[tuple[int, bytes]] = []
        while self.answer is None:
            if self.cancelled is not None and self.cancelled.is_set():
                return Outcome(kind="cancelled", detail="on request")
            now = time.monotonic()
            if now >= tell_at:
                self._tell_used(processor_time_s(self.worker.pid))
                tell_at = now + _METER_S
            left = deadline - now
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
                    if kind in _STREAMS:
                        outputs.append((kind, body))
            except ValueError as exc:
                self.answer = None
                return Outcome(kind="system_error", detail=printable(f"the worker sent nonsense: {exc}"))
            finally:
                for kind, group in itertools.groupby(outputs, key=operator.itemgetter(0)):
                    self.output(_STREAMS[kind], b"".join(body for _, body in group))
                outputs.clear()
            pace.delivered(len(data))
        return None

    def _check(self, kind: int, body: bytes) -> None:
        """Receive an outcome; count output. Raises: ValueError on a frame that no honest worker sends."""
        if self.answer is not None:
            raise ValueError("something behind the outcome")
        if kind == worker_frames.OUTCOME:
            if self.files is not None:
                self.files.finish()
            self.answer = _answer(body, self.manifest, self.worker.served)
            return
        if kind not in _STREAMS:
            if self.files is None:
                raise ValueError("files of a job without any")
            self.files.take(kind, body)
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
        why = ": its engine gave up, probably for memory" if -returncode in _GIVING_UP else ""
        return Outcome(kind="system_error", detail=f"the worker died ({how}){why}")


def _packed(collected: CollectedFiles) -> bytes:
    files = collected.files
    return worker_frames.pack_files(
        listing_bytes=collected.pack.listing_bytes,
        data_bytes=files.limits.data_bytes,
        entries=files.limits.entries,
        descriptors=files.limits.descriptors,
        read_only=[path_bytes(path) for path in files.read_only],
        outputs=[path_bytes(path) for path in files.outputs],
    )


def _has_ended(pid: int, patience_s: float) -> bool:
    """Return whether a child has ended, without reaping it. Its socket closes shortly before."""
    deadline = time.monotonic() + patience_s
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_DYING_PAUSE_S)
    return True


class _Pace:
    """How fast output is taken from one worker. It waits in its socket meanwhile, and then in the guest.

    A guest pays gas for the bytes that it writes, and the node's process pays for each delivery: a hash, a write, a
    turn of its loop for those who follow. Only processor time is bounded here; a slow reader delays no other.
    """

    def __init__(self, owner: WorkerOwner) -> None:
        self._owner = owner
        self._at = time.monotonic()
        self._cpu_s = time.thread_time()
        self._credit_s = _NODE_BURST_S
        self._again_at = 0.0
        self._deliveries = 0

    def delivered(self, size_bytes: int) -> None:
        """Take note of a delivery."""
        now, cpu_s = time.monotonic(), time.thread_time()
        share = self._owner.node_share
        grown_s = self._credit_s + (now - self._at) * share
        self._credit_s = min(_NODE_BURST_S, grown_s) - (cpu_s - self._cpu_s)
        self._at, self._cpu_s = now, cpu_s
        self._again_at = now + max(0.0, -self._credit_s / share)
        self._deliveries += 1
        if size_bytes < _GATHER_BELOW_BYTES and self._deliveries > _AT_ONCE:
            self._again_at = max(self._again_at, now + _GATHER_S)

    def rest(self, longest_s: float) -> bool:
        """Wait until the job may continue, at most the given time, and return whether it may."""
        left_s = self._again_at - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, longest_s))
        return left_s <= longest_s


@attrs.frozen(kw_only=True)
class _Answer:
    """A worker's report about its job. `peak_memory` is in the platform's unit."""

    outcome: Outcome
    gas_used: int
    cpu_time_s: float = 0.0
    peak_memory: int = 0


def _answer(body: bytes, manifest: Manifest, number: int) -> _Answer:
    """Parse an outcome. Raises: ValueError on bytes that no honest worker sends."""
    kind, code, trap, gas_used, cpu_us, peak, detail = worker_frames.unpack_outcome(body, number)
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
    """Return a text without control characters and of at most 500 characters, for `Outcome.detail`."""
    return cleaned(text, maximum=500)
