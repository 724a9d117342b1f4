"""A zygote process as the daemon holds it: starting it, taking its workers, ending it."""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import signal
import socket
import struct
import subprocess
import threading

from plasm_core.config import SandboxConfig
from plasm_core.errors import SandboxError
from plasm_core.resource_hint import process_hint
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
from plasm_core.sandbox.process.idle_worker import Worker, end_process
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.sandbox.process.zygote_messages import MAX_BATCH, READY_BYTES, unpack_pids, unpack_ready
from plasm_core.sandbox.program import Program

_FORK_S = 30.0
_END_S = 5.0
_REFILL = 4
_ZYGOTE_BYTES = 32 << 20
_IDLE_BYTES = 2 << 20
"""What a worker without a job has of its own: the pages that it writes to when it is forked."""
_MAX_STATUS_BYTES = 1 << 16


class Zygote:
    """One zygote process and its idle workers. Calls are serialised by its lock."""

    def __init__(
        self, program: Program, config: SandboxConfig, *, jobs_per_worker: int, meter: Meter = unmetered
    ) -> None:
        """Start it. `meter` gets the processor time of the start, also if it fails."""
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
            ours.settimeout(START_S)
            timed_out = False
            try:
                ready = ours.recv(READY_BYTES)
            except OSError as exc:
                ready, timed_out = b"", isinstance(exc, TimeoutError)
            meter(processor_time_s(process.pid))
            try:
                self.missing = unpack_ready(ready)
            except ValueError:  # no message, or an invalid one
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
        _end_group(process.pid, but={process.pid})  # ends a worker of the rehearsal
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
                    # the zygote is gone: `take` notices when no idle worker is left
                    with contextlib.suppress(OSError):
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
        self._asked = 0  # one answer ends a request, even with fewer workers than requested
        if not pids:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        # this process has no free descriptors: the kernel dropped some of the sockets
        if len(fds) != len(pids):
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
            if self._asked:  # the zygote ended in the middle of a batch
                _end_group(self._process.pid, but=self._handed)


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
