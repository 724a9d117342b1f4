"""Runs one job in this process: what a forked worker, or one started by itself, does with its socket.

In order: the job comes over the socket, the last privileges go, then the guest runs. What it writes goes to the
socket as it comes; the outcome goes last. There are no keys, files or environment here.
"""

from __future__ import annotations

import json
import os
import resource
import socket

from plasm_core.engine import PAGE_BYTES, EngineFailure, Trap
from plasm_core.sandbox import confine, frames
from plasm_core.sandbox.injected import (
    FAULT_GLOBAL,
    FAULT_GROWTH,
    FAULT_STACK,
    GAS_GLOBAL,
    PAGES_GLOBAL,
    START_EXPORT,
)
from plasm_core.sandbox.wasi.host import Exit, Host, HostJob, OutOfGas, OutputLimit

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from plasm_core.engine import Instance, LoadedModule

OVERHEAD_BYTES = 512 << 20
"""What the interpreter, the engine and a module's tables may take beside the guest's memory."""
_MAX_PENDING = 1 << 16


class FileStdin:
    """Standard input from an open file, read to its end."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._left = 0 if fd is None else os.fstat(fd).st_size

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        data = b"" if self._fd is None else os.read(self._fd, count)
        if not data:
            raise EngineFailure("standard input is shorter than announced")
        self._left -= len(data)
        return data

    def remaining(self) -> int:
        """Return how many bytes are left."""
        return self._left


class OutputSink:
    """Sends output to the socket. Small writes are gathered, since many guests write byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._stream = 0
        self._pending = bytearray()

    def write(self, stream: int, data: bytes) -> None:
        """Take what the guest wrote to stream 1 or 2, in order."""
        if stream != self._stream or len(self._pending) + len(data) > _MAX_PENDING:
            self.flush()
            self._stream = stream
        self._pending += data

    def flush(self) -> None:
        """Send what is pending."""
        if self._pending:
            kind = frames.STDOUT if self._stream == 1 else frames.STDERR
            self._socket.sendall(frames.frame(kind, bytes(self._pending)))
            self._pending.clear()


def make_instance(module: LoadedModule) -> tuple[Host, Instance]:
    """Instantiate a module over a host of its own. No guest code runs."""
    host = Host(GAS_GLOBAL)
    instance = module.instantiate(host.functions())
    host.attach(instance)
    return host, instance


def serve(
    sock: socket.socket,
    module: LoadedModule,
    ready: tuple[Host, Instance] | None,
    tighten: Callable[[], None],
    *,
    jobs: int = 1,
) -> None:
    """Serve jobs from a socket, one after the other, each on an instance of its own.

    `ready` is an instance for the first. `tighten` takes away what a guest must not have.
    """
    for number in range(jobs):
        job, stdin_fd = _receive_job(sock)
        if number == 0:
            confine.limit_resources(cpu_s=job["cpu_s"], memory_bytes=job["memory_bytes"] + OVERHEAD_BYTES)
        stdin = FileStdin(stdin_fd)
        output = OutputSink(sock)
        if number == 0:
            tighten()
        host, instance = ready or make_instance(module)
        ready = None
        before = resource.getrusage(resource.RUSAGE_SELF)
        outcome = run(instance, host, job, stdin, output)
        after = resource.getrusage(resource.RUSAGE_SELF)
        outcome["cpu_time_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        outcome["peak_memory"] = after.ru_maxrss
        sock.sendall(frames.frame(frames.OUTCOME, json.dumps(outcome).encode()))
        if stdin_fd is not None:
            os.close(stdin_fd)


def forbid_files_and_processes() -> None:
    """Let this process write no file and start no process, whatever else it may get at."""
    confine.limit(resource.RLIMIT_FSIZE, 0)
    confine.limit(resource.RLIMIT_NPROC, 0)


def _receive_job(sock: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Receive a job, and the descriptor of its standard input if it has any."""
    head, fds, _, _ = socket.recv_fds(sock, frames.HEADER_BYTES, 1)
    if not head:
        os._exit(0)  # the daemon has no job for us
    while len(head) < frames.HEADER_BYTES:
        head += _some(sock, frames.HEADER_BYTES - len(head))
    kind, length = frames.parse_header(head)
    if kind != frames.JOB or length > frames.MAX_FRAME_BYTES:
        raise SystemExit("not a job")
    parts = []
    while length:
        part = _some(sock, min(length, 1 << 20))
        parts.append(part)
        length -= len(part)
    return json.loads(b"".join(parts)), fds[0] if fds else None


def _some(sock: socket.socket, count: int) -> bytes:
    data = sock.recv(count)
    if not data:
        os._exit(0)  # the daemon went away
    return data


def run(
    instance: Instance, host: Host, job: dict[str, Any], stdin: FileStdin, output: OutputSink
) -> dict[str, Any]:
    """Run a job on an instance. Return its outcome as `frames.OUTCOME` carries it."""
    gas: int = job["gas"]
    host.begin(
        HostJob(
            args=[bytes.fromhex(item) for item in job["args"]],
            env=[bytes.fromhex(item) for item in job["env"]],
            stdin=stdin,
            seed=bytes.fromhex(job["seed"]),
            output_bytes=job["output_bytes"],
            capabilities=job["capabilities"],
            output=output.write,
        )
    )
    instance.set_global(GAS_GLOBAL, gas)
    instance.set_global(PAGES_GLOBAL, min(job["memory_bytes"] // PAGE_BYTES, 65_536))
    ended = _call(instance, has_start=job["has_start"])
    output.flush()
    left = instance.get_global(GAS_GLOBAL)
    fault = instance.get_global(FAULT_GLOBAL)
    used = min(gas - left, gas)
    if ended["kind"] == "system_error":
        return {**ended, "gas_used": used}
    if left < 0:
        return {"kind": "out_of_gas", "gas_used": gas}
    if fault == FAULT_STACK:
        ended = {"kind": "trapped", "trap": "stack_exhausted"}
    elif fault == FAULT_GROWTH:
        ended = {"kind": "system_error", "detail": "the node ran out of memory below the job's limit"}
    return {**ended, "gas_used": used}


def _call(instance: Instance, *, has_start: bool) -> dict[str, Any]:
    try:
        if has_start:
            instance.call(START_EXPORT)
        instance.call("_start")
    except Exit as exc:
        return {"kind": "exited", "code": exc.code}
    except OutOfGas:
        return {"kind": "out_of_gas"}
    except OutputLimit:
        return {"kind": "output_limit"}
    except Trap as exc:
        if exc.kind == "stack_exhausted":
            # The module counts its stack; the engine's own must never end first.
            return {"kind": "system_error", "detail": "the engine's stack ended below the job's limit"}
        return {"kind": "trapped", "trap": exc.kind}
    except EngineFailure as exc:
        return {"kind": "system_error", "detail": str(exc)[:500]}
    return {"kind": "exited", "code": 0}
