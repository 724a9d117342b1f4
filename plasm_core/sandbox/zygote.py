"""The zygote: a process that has loaded one module on one engine, is locked down, and forks a worker a job.

It starts before any key is loaded, and locks itself down before it touches the module. It never runs guest code:
instantiating runs none, since the start function was taken away. Its workers are forked ahead of demand with the
instance ready; they are the daemon's own children (CLONE_PARENT), and each has a socket of its own to the daemon.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import socket

from plasm_core.sandbox import confine, entry, worker
from plasm_core.sandbox.descriptor import read_all

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from plasm_core.engine import Engine, Instance, LoadedModule
    from plasm_core.sandbox.wasi.host import Host

READY_BYTES = 65_536
COMMAND_BYTES = 16
MAX_BATCH = 64

SYS_CLONE = {"x86_64": 56, "aarch64": 220}


def main(spec: dict[str, Any]) -> None:
    """Load the artefact in `artefact_fd` and fork workers when the daemon says how many, over `control_fd`."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fileno=spec["control_fd"])
    engine: Engine = entry.make(spec["entry"], spec["options"])
    clone = make_clone(spec["fork_flags"])
    silence = os.open(os.devnull, os.O_RDWR)
    confine.allow_deep_stack()
    missing = confine.lock_down(spec["confinement"])
    module = engine.load(read_all(spec["artefact_fd"]))
    os.close(spec["artefact_fd"])
    # Instantiating once warms what the engine sets up lazily, for shared workers too.
    ready = worker.make_instance(module)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    tighten = _tightener(spec["running_filter"])
    confine.limit(resource.RLIMIT_FSIZE, 0)
    control.send(json.dumps({"missing": missing}).encode())
    gc.disable()  # a collection in a worker would copy the pages it touches
    while True:
        command = control.recv(COMMAND_BYTES)
        if not command:
            os._exit(0)
        _fork_workers(min(int(command), MAX_BATCH), control, module, ready, clone, tighten, spec)


def _tightener(running_filter: str | None) -> Callable[[], None]:
    """Return what a worker calls before its guest runs: no more processes, fewer system calls."""
    if running_filter is None:
        return lambda: confine.limit(resource.RLIMIT_NPROC, 0)
    return confine.prepared_filter(bytes.fromhex(running_filter))


def make_clone(flags: int) -> Callable[[], int]:
    """Return a function that forks by the raw system call, which skips glibc's and Python's own hooks.

    Raises: KeyError on a processor whose number of the call is not known here.
    """
    number = SYS_CLONE[os.uname().machine]
    syscall = ctypes.PyDLL(None, use_errno=True).syscall  # PyDLL: this thread keeps the interpreter's lock
    syscall.restype = ctypes.c_long
    arguments = [ctypes.c_long(value) for value in (number, flags, 0, 0, 0, 0)]

    def clone() -> int:
        pid: int = syscall(*arguments)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "clone failed")
        return pid

    return clone


def _fork_workers(
    count: int,
    control: socket.socket,
    module: LoadedModule,
    ready: tuple[Host, Instance],
    clone: Callable[[], int],
    tighten: Callable[[], None],
    spec: dict[str, Any],
) -> None:
    """Fork workers; send the daemon their process ids and the ends of their sockets."""
    pids: list[int] = []
    ends: list[socket.socket] = []
    for _ in range(count):
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            break  # no more descriptors: send what there is
        ends.append(ours)
        try:
            pid = clone()
        except OSError:
            ends.pop().close()
            theirs.close()
            break
        if pid == 0:
            control.close()
            for end in ends:
                end.close()
            _be_worker(theirs, module, ready, tighten, spec)
        theirs.close()
        pids.append(pid)
    socket.send_fds(control, [json.dumps(pids).encode()], [end.fileno() for end in ends])
    for end in ends:
        end.close()


def _be_worker(
    sock: socket.socket,
    module: LoadedModule,
    ready: tuple[Host, Instance],
    tighten: Callable[[], None],
    spec: dict[str, Any],
) -> NoReturn:
    """Serve, in a forked process, and never return into the zygote's code."""
    status = 1
    try:
        confine.die_with_parent(spec["confinement"]["parent"])
        worker.rehearse(*ready)
        worker.serve(sock, module, ready, tighten, jobs=spec["jobs_per_worker"])
        status = 0
    finally:
        os._exit(status)
