"""The life of zygotes and of the workers they fork ahead of demand, seen from the daemon.

A zygote serves one program. The pool keeps a bounded number of them, the least recently used goes first, and one
that crashed is replaced. Nothing outlives the daemon: workers die with it, by the kernel, even on SIGKILL.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import attrs

from plasm_core.config import SandboxConfig
from plasm_core.errors import SandboxError
from plasm_core.resource_hint import process_hint
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.child import (
    Meter,
    child_file,
    reason,
    shortage,
    start_child,
    tail,
    unmetered,
)
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.sandbox.process.zygote import MAX_BATCH, READY_BYTES, SYS_CLONE, unpack_pids, unpack_ready
from plasm_core.sandbox.program import Program

log = logging.getLogger(__name__)

_START_S = 60.0
_FORK_S = 30.0
_END_S = 5.0
_REFILL = 4
_ZYGOTE_BYTES = 32 << 20
_IDLE_BYTES = 2 << 20
"""What a worker without a job has of its own: the pages that it writes to when it is forked."""
LEAST_BYTES = 64 << 20
"""What zygotes may take however little is spare: most need no more, and one for each job would be slow."""
_MAX_STATUS_BYTES = 1 << 16


@attrs.define(eq=False)
class Worker:
    """A process that waits for a job. The caller that takes it must reap it.

    `key`: the jobs that it may serve. `metered_s`: the part of its processor time that is charged to an owner.
    """

    pid: int
    sock: socket.socket
    key: str = ""
    jobs: int = 1
    served: int = 0
    metered_s: float = 0.0

    def is_silent(self) -> bool:
        """Return whether the worker has sent nothing unexpected, which the next job would receive."""
        try:
            self.sock.setblocking(False)
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def discard(self) -> None:
        """End a worker that was given no job, and reap it."""
        self.sock.close()
        end_process(self.pid)


def end_process(pid: int) -> None:
    """Kill a child process and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


class Zygote:
    """One zygote process and its idle workers. Calls are serialised by its lock."""

    def __init__(
        self, program: Program, config: SandboxConfig, *, jobs_per_worker: int, meter: Meter = unmetered
    ) -> None:
        """Start it. `meter` is told of the processor time that starting takes, also if it fails."""
        self.served = 0
        self.missing: dict[str, str] = {}
        self._config = config
        self._jobs_per_worker = jobs_per_worker
        self._idle: collections.deque[Worker] = collections.deque()
        self._asked = 0
        self._handed: set[int] = set()  # the workers taken, which others reap
        self._lock = threading.Lock()
        self._process, self._control = self._start(program, meter)

    def _start(self, program: Program, meter: Meter) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, child_file() as stderr:
            process = start_child(
                program.runtime.python(),
                "plasm_core.sandbox.process.zygote",
                {
                    "entry": program.runtime.entry,
                    "options": program.runtime.options(),
                    "control_fd": theirs.fileno(),
                    "artefact_fd": program.artefact_fd,
                    "confinement": seccomp_filters.confinement(seccomp_filters.loading(), file_bytes=1 << 40),
                    "running_filter": seccomp_filters.running()["filter"],
                    "fork_flags": seccomp_filters.FORK_FLAGS,
                    "jobs_per_worker": self._jobs_per_worker,
                },
                title=f"plasm worker {program.runtime.name}",
                pass_fds=[theirs.fileno(), program.artefact_fd],
                stdout=stderr,
                stderr=stderr,
            )
            theirs.close()
            ours.settimeout(_START_S)
            timed_out = False
            try:
                ready = ours.recv(READY_BYTES)
            except OSError as exc:
                ready, timed_out = b"", isinstance(exc, TimeoutError)
            meter(processor_time_s(process.pid))
            try:
                self.missing = unpack_ready(ready)
            except ValueError:  # nothing, or nonsense
                ours.close()
                _end(process)
                _end_group(process.pid, but=set())
                said = tail(stderr)
                how = reason(said)
                if not said and process.returncode == -signal.SIGKILL and not timed_out:
                    how = "it was killed by the kernel, probably for memory"
                raise SandboxError(
                    f"a zygote of {program.runtime.name} did not start: {how}", hint=shortage(said)
                ) from None
        _end_group(process.pid, but={process.pid})  # a worker that rehearsed
        taken = max(resident_bytes(process.pid), _ZYGOTE_BYTES + os.fstat(program.artefact_fd).st_size)
        self.memory_bytes = taken + self._config.ahead * _IDLE_BYTES
        ours.settimeout(_FORK_S)
        return process, ours

    def take(self) -> Worker:
        """Return an idle worker. Raises: `SandboxError` if the zygote is gone."""
        with self._lock:
            try:
                if not self._idle and not self._asked:
                    self._ask(1 if self.served == 0 else self._config.ahead)
                while not self._idle:
                    self._collect()
                worker = self._idle.popleft()
                self.served += 1
                self._handed.add(worker.pid)
                # The first job may be the only one: workers are forked ahead from the second on.
                low = max(0, self._config.ahead - _REFILL)
                if self.served > 1 and not self._asked and len(self._idle) <= low:
                    with contextlib.suppress(OSError):  # it is gone: noticed when no idle worker is left
                        self._ask(self._config.ahead - len(self._idle))
            except OSError as exc:
                raise SandboxError(f"a zygote is gone: {exc}", hint=process_hint(exc)) from exc
            return worker

    def _ask(self, count: int) -> None:
        count = min(count, MAX_BATCH)
        self._control.send(str(count).encode())
        self._asked += count

    def _collect(self) -> None:
        # recvmsg itself: CPython's recv_fds drops its flags.
        data, ancillary, _, _ = self._control.recvmsg(
            READY_BYTES, socket.CMSG_LEN(4 * MAX_BATCH), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        )
        fds = [fd for _, _, packed in ancillary for (fd,) in struct.iter_unpack("i", packed)]
        if not data:
            raise ConnectionResetError("it ended")
        try:
            pids = unpack_pids(data)
        except ValueError:
            pids = []
        self._asked = 0  # one answer ends a request, though it brought fewer than asked for
        if not pids:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if len(fds) != len(pids):  # this process may open no more: the kernel dropped some
            for fd in fds:
                os.close(fd)
            for pid in pids:
                end_process(pid)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        for pid, fd in zip(pids, fds, strict=True):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
            self._idle.append(Worker(pid, sock))

    def close(self) -> None:
        """End the zygote and its idle workers, and reap them."""
        with self._lock:
            if self._control.fileno() < 0:
                return
            self._control.settimeout(_END_S)
            with contextlib.suppress(OSError, ValueError):
                while self._asked:
                    self._collect()
            self._control.close()
            _end(self._process)
            while self._idle:
                self._idle.popleft().discard()
            if self._asked:  # it ended in the middle of a batch
                _end_group(self._process.pid, but=self._handed)


class Workers(Protocol):
    """A source of workers for an executor."""

    missing: dict[str, str]
    spare_bytes: float
    """How much memory may be taken by what is idle."""

    @property
    def idle_bytes(self) -> int:
        """The memory in bytes that idle processes take."""

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Return a worker that will serve `jobs` jobs of a program. Raises: `SandboxError`.

        `meter` is told of the processor time of other processes that had to start for it.
        """

    def close(self) -> None:
        """End all idle processes."""


class Pool:
    """Zygotes by program, limited in number and memory. Thread-safe."""

    def __init__(self, config: SandboxConfig) -> None:
        self.missing: dict[str, str] = {}
        self.spare_bytes = float("inf")
        self._config = config
        self._wanted: collections.Counter[str] = collections.Counter()
        self._zygotes: collections.OrderedDict[str, Zygote] = collections.OrderedDict()
        self._lock = threading.Lock()
        # The kernel ties a child's life to the thread that started it: one thread that lives as long as the
        # pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="plasm-zygotes")
        self._spawner = Spawner(config)

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Return a worker from the program's zygote, which is started if there is none. Raises: `SandboxError`.

        `meter` is told of the processor time of starting the zygote.
        """
        if not program.runtime.forks:
            worker = self._starter.submit(self._spawner.take, program, jobs=1, meter=meter).result()
            self.missing = self._spawner.missing
            return worker
        key = f"{jobs} {program_key(program)}"
        with self._lock:
            self._wanted[key] += 1
        problem: SandboxError | None = None
        try:
            for _ in range(2):
                zygote = self._zygote(key, program, jobs, meter)
                try:
                    return zygote.take()
                except SandboxError as exc:
                    problem = exc
                    log.warning("zygote lost, replacing it reason=%s", exc)
                    self._drop(key, zygote)
        finally:
            with self._lock:
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                self._evict()
        hint = problem.hint if problem is not None else None
        raise SandboxError("a zygote ended twice before it forked a worker", hint=hint) from problem

    def _zygote(self, key: str, program: Program, jobs: int, meter: Meter) -> Zygote:
        with self._lock:
            zygote = self._zygotes.get(key)
            if zygote is not None and zygote.served >= self._config.jobs_per_zygote:
                # Workers of one zygote share one layout of addresses: it must not stay the same for ever.
                del self._zygotes[key]
                zygote.close()
                zygote = None
            if zygote is None:
                self._evict()  # first: what ends makes room for what begins
                zygote = self._starter.submit(self._make, program, jobs, meter).result()
                self._zygotes[key] = zygote
                self._evict()
            self._zygotes.move_to_end(key)
            return zygote

    def _make(self, program: Program, jobs: int, meter: Meter) -> Zygote:
        zygote = Zygote(program, self._config, jobs_per_worker=jobs, meter=meter)
        try:
            refuse_missing(zygote.missing, self._config)
        except SandboxError:
            zygote.close()
            raise
        if zygote.missing != self.missing:
            self.missing = zygote.missing
            for layer, reason in sorted(self.missing.items()):
                log.warning("sandbox layer missing layer=%s reason=%s", layer, reason)
        return zygote

    @property
    def idle_bytes(self) -> int:
        return sum(zygote.memory_bytes for zygote in list(self._zygotes.values()))

    def _evict(self) -> None:
        """End zygotes beyond what there may be, the least recently used first; none that a job waits for."""
        allowed = max(LEAST_BYTES, min(self._config.zygote_memory_bytes, self.spare_bytes))
        for key in list(self._zygotes):
            if len(self._zygotes) <= self._config.zygotes and self.idle_bytes <= allowed:
                break
            if key not in self._wanted:
                self._zygotes.pop(key).close()

    def _drop(self, key: str, zygote: Zygote) -> None:
        with self._lock:
            if self._zygotes.get(key) is zygote:
                del self._zygotes[key]
        zygote.close()

    def close(self) -> None:
        """End all zygotes and idle workers."""
        with self._lock:
            while self._zygotes:
                self._zygotes.popitem()[1].close()
        self._starter.shutdown()


class Spawner:
    """Starts one worker for each job, for engines that cannot be forked and platforms without the zygote's system calls."""

    spare_bytes = float("inf")
    idle_bytes = 0

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self.missing: dict[str, str] = {}

    def take(self, program: Program, *, jobs: int, meter: Meter = unmetered) -> Worker:
        """Start a worker. It serves one job, whatever `jobs` allows. Raises: `SandboxError`.

        `meter` is told of the processor time of one that does not start.
        """
        ours, theirs = socket.socketpair()
        with theirs, child_file() as stderr:
            process = start_child(
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
            theirs.close()
            process.returncode = 0  # the caller that takes the worker reaps it, not subprocess
            worker = Worker(process.pid, ours)
            try:
                self.missing = _ready(ours)
                refuse_missing(self.missing, self._config)
            except (OSError, ValueError):
                meter(processor_time_s(process.pid))
                worker.discard()
                raise SandboxError(
                    f"a worker of {program.runtime.name} did not start: {tail(stderr)[-500:]}"
                ) from None
            except SandboxError:
                meter(processor_time_s(process.pid))
                worker.discard()
                raise
        return worker

    def close(self) -> None:
        """Do nothing: no process is idle."""


def _ready(sock: socket.socket) -> dict[str, str]:
    """Receive a worker's first message: the sandbox layers that it lacks. Raises: `OSError`, `ValueError`."""
    sock.settimeout(_START_S)
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
        part = sock.recv(READY_BYTES)
        if not part or len(data) > READY_BYTES:
            raise ValueError("a worker that is not ready")
        data += part
    return unpack_ready(data[4:])


def workers_for(config: SandboxConfig) -> Workers:
    """Return the source of workers for this platform: zygotes where possible."""
    zygotes = sys.platform == "linux" and os.uname().machine in SYS_CLONE
    return Pool(config) if zygotes else Spawner(config)


def refuse_missing(missing: dict[str, str], config: SandboxConfig) -> None:
    """Raise `SandboxError` if a layer is missing that the operator requires."""
    lacking = [f"{layer} ({missing[layer]})" for layer in config.require if layer in missing]
    if lacking:
        raise SandboxError(
            f"required sandbox layers are missing: {', '.join(lacking)}",
            hint="see plasm doctor; sandbox.require lists the layers that must be there",
        )


def program_key(program: Program) -> str:
    """Return the key that distinguishes the zygotes of two programs."""
    runtime = program.runtime
    parts = [runtime.entry, runtime.options(), runtime.version(), program.digest, program.entry]
    return json.dumps(parts, sort_keys=True)


def resident_bytes(pid: int) -> int:
    """Return a process's resident anonymous and memory-file bytes; 0 if the system does not report them.

    They hold, for example, the tables and the initial memory that an engine has made for a module.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = file.read(_MAX_STATUS_BYTES).splitlines()
    except OSError:
        return 0
    words = [line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(int(word[1]) for word in words if len(word) == 3 and word[1].isdecimal())


def _end_group(leader: int, *, but: set[int]) -> None:
    """End the workers that a zygote did not report: they are in its process group, since it was started in its own
    session.
    """
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in but:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(int(entry)) == leader:
                    end_process(int(entry))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_S if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
