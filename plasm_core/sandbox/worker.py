"""The process that runs one job. It starts without keys, files or environment, and imports little.

What happens here, in order: limits, the engine, the instance (no guest code runs yet), the job from the socket,
then the guest. What the guest writes goes to the socket at once; the outcome goes last.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from typing import Any

from plasm_core.engine import PAGE_BYTES, Engine, EngineFailure, Instance, Trap
from plasm_core.sandbox import frames
from plasm_core.sandbox.confine import allow_deep_stack, limit_resources
from plasm_core.sandbox.injected import (
    FAULT_GLOBAL,
    FAULT_GROWTH,
    FAULT_STACK,
    GAS_GLOBAL,
    PAGES_GLOBAL,
    START_EXPORT,
)
from plasm_core.sandbox.wasi.host import Exit, Host, HostJob, OutOfGas, OutputLimit

_OVERHEAD_BYTES = 512 << 20
_MAX_PENDING = 1 << 16


class FileStdin:
    """Standard input from an open file, read by offset."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._offset = 0
        self._size = os.fstat(fd).st_size if fd is not None else 0

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        data = os.pread(self._fd, count, self._offset) if self._fd is not None else b""
        if not data:
            raise EngineFailure("standard input is shorter than announced")
        self._offset += len(data)
        return data

    def remaining(self) -> int:
        """Return how many bytes are left."""
        return self._size - self._offset


class OutputSink:
    """Sends output to the socket: small writes are gathered, since many guests write byte by byte."""

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


def main(spec: dict[str, Any]) -> None:
    """Run the job that comes over `socket_fd` on the artefact in `artefact_fd`."""
    limit_resources(cpu_s=spec["cpu_s"], memory_bytes=spec["memory_bytes"] + _OVERHEAD_BYTES, file_bytes=0)
    allow_deep_stack()
    sock = socket.socket(fileno=spec["socket_fd"])
    host = Host(GAS_GLOBAL)
    instance = _instantiate(spec, host)
    job, stdin_fd = _receive_job(sock)
    outcome = run(instance, host, job, FileStdin(stdin_fd), OutputSink(sock))
    sock.sendall(frames.frame(frames.OUTCOME, json.dumps(outcome).encode()))


def _instantiate(spec: dict[str, Any], host: Host) -> Instance:
    module, _, name = spec["entry"].partition(":")
    __import__(module)
    engine: Engine = getattr(sys.modules[module], name)(**spec["options"])
    instance = engine.instantiate(f"/dev/fd/{spec['artefact_fd']}", host.functions())
    host.attach(instance)
    return instance


def _receive_job(sock: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Receive the job, and the descriptor of its standard input if it has any."""
    head, fds, _, _ = socket.recv_fds(sock, frames.HEADER_BYTES, 1)
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
        raise SystemExit(0)  # the daemon went away
    return data


def run(
    instance: Instance, host: Host, job: dict[str, Any], stdin: FileStdin, output: OutputSink
) -> dict[str, Any]:
    """Run a job on an instance. Return its outcome as `frames.OUTCOME` carries it."""
    gas: int = job["gas"]
    host.begin(
        HostJob(
            args=[base64.b64decode(item) for item in job["args"]],
            env=[base64.b64decode(item) for item in job["env"]],
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
