"""Runs one job in this process, a forked worker or a single one, over its socket.

In order: it receives the job, drops its last privileges, and runs the guest. It sends output as the guest writes it,
and the outcome last. The process has no keys, files or environment.
"""

from __future__ import annotations

import os
import resource
import sys

from plasm_core.plugins.engine import PAGE_BYTES, EngineFailure, GuestEnd, GuestJob, Trap
from plasm_core.sandbox.metering.injected import (
    EXIT_GLOBAL,
    FAULT_CONVERSION,
    FAULT_EXCEPTION,
    FAULT_GLOBAL,
    FAULT_GROWTH,
    FAULT_NULL_CALL,
    FAULT_STACK,
    GAS_GLOBAL,
    PAGES_GLOBAL,
    START_EXPORT,
)
from plasm_core.sandbox.process import confinement, worker_frames
from plasm_core.sandbox.process.worker_files import (
    SentDescriptors,
    file_job,
    file_memory,
    guest_files,
    send_outputs,
)
from plasm_core.sandbox.wasi.endings import Exit, OutOfGas, OutputLimit
from plasm_core.sandbox.wasi.file_calls import FileCalls
from plasm_core.sandbox.wasi.host import Host
from plasm_core.sandbox.wasi.host_job import HostJob
from plasm_core.trap_kinds import TRAP_KINDS

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from plasm_core.plugins.engine import GuestFiles, HostedEngine, HostedModule, Instance, LoadedModule

OVERHEAD_BYTES = 512 << 20
"""What the interpreter, the engine and a module's tables may take beside the guest's memory."""
HOSTED_OVERHEAD_BYTES = 1 << 30
"""The same for an engine with a host of its own, whose code, heap and deep stack are private memory too."""
_HOSTED_COPIES = 4
"""How many copies of an artefact such an engine's worker may have: Python's, two of the script, the engine's."""
_ENGINE_STACK = "the engine's stack ended below the job's limit"
_NAMES_WITHOUT_ENTRY = {
    "gas": GAS_GLOBAL,
    "pages": PAGES_GLOBAL,
    "fault": FAULT_GLOBAL,
    "start": START_EXPORT,
}
_NAMES = {**_NAMES_WITHOUT_ENTRY, "exit": EXIT_GLOBAL}
_RECEIVE_BYTES = 1 << 12
_ANCILLARY_BYTES = 64
REHEARSAL = worker_frames.pack_job(
    gas=0,
    memory_bytes=1 << 32,
    output_bytes=0,
    stdin_bytes=0,
    cpu_s=10,
    flags=0,
    seed=bytes(32),
    args=(b"a",),
    env=(b"a=b",),
)
"""A job that ends before its first instruction."""


class FileStdin:
    """Standard input from an open file of a known size."""

    def __init__(self, fd: int | None, size: int) -> None:
        self._fd = fd
        self._size = self._left = size

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most `count`."""
        try:
            data = b"" if self._fd is None else os.pread(self._fd, count, self._size - self._left)
        except OSError as exc:  # the file may be on a disk
            raise EngineFailure(f"standard input cannot be read: {exc.strerror}") from None
        if not data:
            raise EngineFailure("standard input is shorter than announced")
        self._left -= len(data)
        return data

    def remaining(self) -> int:
        """Return how many bytes are left."""
        return self._left


def sender(sock: _socket.socket) -> Callable[[int, bytes], None]:
    """Return a function that sends the guest's output to the daemon at once, because the guest may hang afterwards."""

    def send(stream: int, data: bytes) -> None:
        sock.sendall(worker_frames.frame(worker_frames.STDOUT if stream == 1 else worker_frames.STDERR, data))

    return send


def make_instance(module: LoadedModule) -> tuple[Host, Instance]:
    """Instantiate a module with a new WASI host. No guest code runs."""
    host = Host(GAS_GLOBAL)
    instance = module.instantiate(host.functions)
    host.attach(instance)
    return host, instance


def rehearse(host: Host, instance: Instance) -> None:
    """Do all steps of a job except running a guest. Host and instance are unchanged afterwards.

    A forked process copies each page at its first write, and reference counting writes. Where a zygote cannot pin
    pages (`plasm_core.sandbox.process.page_pinning`), its workers copy the pages before their job arrives.
    """
    job = worker_frames.WorkerJob(REHEARSAL)
    host.begin(host_job(job, FileStdin(None, 0), lambda _stream, _data: None))
    for name in (GAS_GLOBAL, PAGES_GLOBAL):
        instance.set_global(name, instance.get_global(name))
    instance.get_global(FAULT_GLOBAL)
    if instance.memory.size() >= PAGE_BYTES:
        instance.set_global(GAS_GLOBAL, 1 << 40)
        first = instance.memory.read(0, 16)
        host.functions["args_sizes_get"][2](0, 4)
        host.functions["fd_write"][2](1, 0, 0, 8)
        host.functions["fd_read"][2](0, 0, 0, 8)
        instance.memory.write(0, first)
    instance.set_global(GAS_GLOBAL, 0)
    instance.set_global(PAGES_GLOBAL, 0)
    resource.getrusage(resource.RUSAGE_SELF)
    worker_frames.frame(
        worker_frames.OUTCOME, worker_frames.pack_outcome("exited", gas_used=0, cpu_us=0, peak_memory=0)
    )


def host_job(job: worker_frames.WorkerJob, stdin: FileStdin, output: Callable[[int, bytes], None]) -> HostJob:
    """Return a job's inputs as the host takes them."""
    return HostJob(
        args=job.args,
        env=job.env,
        stdin=stdin,
        seed=job.seed,
        output_bytes=job.output_bytes,
        real_clock=bool(job.flags & worker_frames.CLOCK_REAL),
        real_random=bool(job.flags & worker_frames.RANDOM_REAL),
        output=output,
    )


def serve(
    sock: _socket.socket,
    module: LoadedModule,
    ready: tuple[Host, Instance] | None,
    tighten: Callable[[], None],
    *,
    jobs: int = 1,
) -> None:
    """Serve jobs from a socket one after the other, each in a new instance.

    `ready`: the instance for the first job. `tighten` drops permissions that a guest must not have.
    """
    noted = None
    for number in range(jobs):
        job, sent = receive_job(sock)
        noted = noted or sent.shared_note()  # a shared worker keeps the one that came with its first job
        if number == 0:
            confinement.limit_resources(
                cpu_s=job.cpu_s, memory_bytes=job.memory_bytes + file_memory(job.files) + OVERHEAD_BYTES
            )
            tighten()
        host, instance = ready or make_instance(module)
        ready = None
        if noted is not None:
            host.noted = noted
        stdin = FileStdin(sent.stdin, job.stdin_bytes)
        outcome = run(instance, host, job, stdin, sender(sock), sent)
        if sent.files is not None and not worker_frames.is_failure(outcome):
            send_outputs(sock, sent.files)
        sock.sendall(worker_frames.frame(worker_frames.OUTCOME, outcome))
        sent.close()
        if number + 1 < jobs:
            host.detach()
            del host, instance
            ready = make_instance(module)  # collect now, not while the next job waits


def serve_hosted(
    sock: _socket.socket, engine: HostedEngine, artefact: bytes, tighten: Callable[[], None]
) -> None:
    """Serve one job from a socket, on an engine with its own WASI host.

    The engine loads the artefact under the job's limits. `tighten` then drops permissions that a guest must not have.
    """
    job, sent = receive_job(sock)
    noted = sent.shared_note()
    memory_bytes = job.memory_bytes + HOSTED_OVERHEAD_BYTES + _HOSTED_COPIES * len(artefact)
    memory_bytes += 2 * file_memory(job.files)  # its buffers grow by doubling
    confinement.limit_resources(cpu_s=job.cpu_s, memory_bytes=memory_bytes)
    try:
        module = engine.load(artefact)
    except EngineFailure as exc:
        outcome = _outcome(job, "system_error", 0, "", str(exc), left=job.gas, fault=0, since_s=0)
    else:
        tighten()
        stdin = FileStdin(sent.stdin, job.stdin_bytes)
        files = None if job.files is None else guest_files(job.files, sent.pack, sock)
        outcome = run_hosted(module, job, stdin, sender(sock), files, noted)
    sock.sendall(worker_frames.frame(worker_frames.OUTCOME, outcome))


def receive_job(sock: _socket.socket) -> tuple[worker_frames.WorkerJob, SentDescriptors]:
    """Receive a job, and the descriptors that come with it."""
    data, ancillary, _, _ = sock.recvmsg(_RECEIVE_BYTES, _ANCILLARY_BYTES)
    if not data:
        os._exit(0)  # the daemon has no job for us
    packed = ancillary[0][2] if ancillary else b""
    fds = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    while len(data) < worker_frames.HEADER_BYTES:
        data += _some(sock, worker_frames.HEADER_BYTES - len(data))
    kind, length = worker_frames.parse_header(data[: worker_frames.HEADER_BYTES])
    if kind != worker_frames.JOB or length > worker_frames.MAX_FRAME_BYTES:
        os._exit(1)
    parts = [data[worker_frames.HEADER_BYTES :]]
    length -= len(parts[0])
    while length > 0:
        part = _some(sock, min(length, 1 << 20))
        parts.append(part)
        length -= len(part)
    job = worker_frames.WorkerJob(b"".join(parts))
    return job, SentDescriptors(fds, job.flags)


def _some(sock: _socket.socket, count: int) -> bytes:
    data = sock.recv(count)
    if not data:
        os._exit(0)  # the daemon went away
    return data


def run(
    instance: Instance,
    host: Host,
    job: worker_frames.WorkerJob,
    stdin: FileStdin,
    output: Callable[[int, bytes], None],
    sent: SentDescriptors | None = None,
) -> bytes:
    """Run a job on an instance. Return its outcome as `worker_frames.OUTCOME` carries it. `sent`: for a job with files."""
    before = _processor_time_s()  # excludes earlier jobs of a shared worker, and the start of every worker
    asked = host_job(job, stdin, output)
    host.begin(asked)
    if job.files is not None and sent is not None:
        sent.files = FileCalls(host, file_job(job.files, sent.pack), asked.clock)
        host.take_files(sent.files)
    instance.set_global(GAS_GLOBAL, job.gas)
    instance.set_global(PAGES_GLOBAL, _pages(job))
    kind, code, trap, detail = _call(instance, job.flags)
    return _outcome(
        job,
        *(kind, code, trap, detail),
        left=instance.get_global(GAS_GLOBAL),
        fault=instance.get_global(FAULT_GLOBAL),
        since_s=before,
    )


def run_hosted(
    module: HostedModule,
    job: worker_frames.WorkerJob,
    stdin: FileStdin,
    output: Callable[[int, bytes], None],
    files: GuestFiles | None = None,
    noted: memoryview | None = None,
) -> bytes:
    """Run a job on an engine with its own WASI host. Return its outcome as `run` does. `noted`: see `GasNote`."""
    asked = GuestJob(
        args=job.args,
        env=job.env,
        seed=job.seed,
        stdin=stdin,
        output=output,
        output_bytes=job.output_bytes,
        gas=job.gas,
        pages=_pages(job),
        has_start=bool(job.flags & worker_frames.HAS_START),
        real_clock=bool(job.flags & worker_frames.CLOCK_REAL),
        real_random=bool(job.flags & worker_frames.RANDOM_REAL),
        names=_NAMES if job.flags & worker_frames.HAS_ENTRY else _NAMES_WITHOUT_ENTRY,
        files=files,
        noted=bytearray(8) if noted is None else noted,
    )
    before = _processor_time_s()
    detail = ""
    try:
        end = module.run(asked)
    except EngineFailure as exc:
        detail = str(exc)
        end = GuestEnd(kind="system_error", code=0, trap="", gas_left=job.gas, fault=0)
    kind, trap = end.kind, end.trap
    if trap == "stack_exhausted":
        kind, trap, detail = "system_error", "", _ENGINE_STACK
    return _outcome(job, kind, end.code, trap, detail, left=end.gas_left, fault=end.fault, since_s=before)


def _pages(job: worker_frames.WorkerJob) -> int:
    return min(int(job.memory_bytes) // PAGE_BYTES, 65_536)


def _outcome(
    job: worker_frames.WorkerJob,
    kind: str,
    code: int,
    trap: str,
    detail: str,
    *,
    left: int,
    fault: int,
    since_s: float,
) -> bytes:
    """Return how a job ended as `worker_frames.OUTCOME` carries it.

    `left`: the gas counter; `fault`: why it trapped; `since_s`: this process's processor time when it began.
    """
    if kind != "system_error":
        if left < 0:
            kind, code, trap = "out_of_gas", 0, ""
        elif trap == "unreachable":
            if fault == FAULT_STACK:
                trap = "stack_exhausted"
            elif fault == FAULT_NULL_CALL:
                trap = "indirect_call_to_null"
            elif fault == FAULT_CONVERSION:
                trap = "bad_conversion_to_integer"
            elif fault == FAULT_EXCEPTION:
                trap = "uncaught_exception"
            elif fault == FAULT_GROWTH:
                kind, trap = "system_error", ""
                detail = "the node ran out of memory below the job's limit"
    return worker_frames.pack_outcome(
        kind,
        code=code,
        trap=TRAP_KINDS.index(trap) if trap else 0,
        gas_used=min(job.gas - left, job.gas),
        cpu_us=int((_processor_time_s() - since_s) * 1e6),
        peak_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        detail=detail,
        number=job.number,
    )


def _processor_time_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _call(instance: Instance, flags: int) -> tuple[str, int, str, str]:
    """Call the guest. Return outcome, exit code, kind of trap, and detail of a system_error."""
    try:
        if flags & worker_frames.HAS_START:
            instance.call(START_EXPORT)
        instance.call("_start")
    except Exit as exc:
        return "exited", exc.code, "", ""
    except OutOfGas:
        return "out_of_gas", 0, "", ""
    except OutputLimit:
        return "output_limit", 0, "", ""
    except Trap as exc:
        if exc.kind == "stack_exhausted":
            # The module counts its own stack; the engine's native stack must never overflow first.
            return "system_error", 0, "", _ENGINE_STACK
        return "trapped", 0, exc.kind, ""
    except EngineFailure as exc:
        return "system_error", 0, "", str(exc)
    except MemoryError:
        return "system_error", 0, "", "the node ran out of memory below the job's limit of file bytes"
    code = instance.get_global(EXIT_GLOBAL) & 0xFFFFFFFF if flags & worker_frames.HAS_ENTRY else 0
    return "exited", code, "", ""
