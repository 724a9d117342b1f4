"""The zygote: a process that has loaded one module on one engine, is locked down, and forks a worker a job.

It starts before any key is loaded, and locks itself down before it touches the module. It never runs guest code:
instantiating runs none, since the start function was taken away. Its workers are forked ahead of demand with a ready
instance; they are the daemon's own children (CLONE_PARENT), and each has its own socket to the daemon. Work done in
the zygote is not repeated in each worker, and modules that it does not import are not mapped and unmapped by each
worker: a thousand pages less save a third of a millisecond for each job. So this module does not import json, socket,
contextlib or enum.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import resource
import struct

from plasm_core.sandbox.process import confinement, entry, page_pinning, worker, worker_frames
from plasm_core.sandbox.process.descriptor import read_all
from plasm_core.sandbox.process.zygote_messages import MAX_BATCH, SYS_CLONE, pack_pids, pack_ready

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from plasm_core.plugins.engine import Engine

COMMAND_BYTES = 16
_PRACTICE = 70
_M_MXFAST = 1
_REHEARSED = worker_frames.frame(worker_frames.JOB, b"")
"""What a rehearsing worker sends last: a frame that no other sends."""


def main(spec: dict[str, Any]) -> None:
    """Load the artefact in `artefact_fd`, and fork as many workers as the daemon asks for on `control_fd`."""
    zygote = _Zygote(spec)
    zygote.rehearse()
    zygote.control.send(pack_ready(zygote.missing))
    while True:
        command = zygote.control.recv(COMMAND_BYTES)
        if not command:
            os._exit(0)
        zygote.fork_workers(min(int(command), MAX_BATCH))


class _Zygote:
    """This process, once it is locked down and has its module."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, spec["control_fd"])
        engine: Engine = entry.make(spec["entry"], spec["options"])
        self._clone = make_clone(spec["fork_flags"])
        silence = os.open(os.devnull, os.O_RDWR)
        self._pins = page_pinning.Pins()
        confinement.allow_deep_stack()
        maps = confinement.open_maps()
        self.missing = confinement.lock_down(spec["confinement"])
        self._parent = spec["confinement"]["parent"]
        self._jobs = spec["jobs_per_worker"]
        self._module = engine.load(read_all(spec["artefact_fd"]))
        os.close(spec["artefact_fd"])
        # Instantiating once warms what the engine sets up lazily, for shared workers too.
        self._ready = worker.make_instance(self._module)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os.close(silence)
        self._tighten = _tightener(spec["running_filter"])
        confinement.forbid_writing_code(maps)  # a worker's filter forbids to make memory executable again
        confinement.limit(resource.RLIMIT_FSIZE, 0)

    def rehearse(self) -> None:
        """Settle what workers inherit, and pin the pages that one which rehearses its job has copied."""
        self._practise()
        _trim()
        gc.disable()  # a collection in a worker would copy the pages it touches
        if not self._pins.prepare():
            return
        ours, theirs = _socket.socketpair()
        try:
            pid = self._clone()
        except OSError:
            self._pins.close()
            return  # no more processes: no worker can be forked either
        if pid == 0:
            self._be_worker(theirs, [ours], rehearsing=True)
        theirs.close()
        ours.sendall(worker_frames.frame(worker_frames.JOB, worker.REHEARSAL))
        said = b""
        while not said.endswith(_REHEARSED) and (part := ours.recv(worker_frames.MAX_OUTCOME_BYTES)):
            said += part
        self._pins.pin_copied()
        ours.close()

    def _practise(self) -> None:
        """Do what each worker does, until the interpreter is done with adapting its code to it.

        CPython rewrites code in place, and fills caches, when it has run some sixty times. In workers, none of
        which gets that far, each such write would copy a page: 60 of 400.
        """
        job = worker_frames.frame(worker_frames.JOB, worker.REHEARSAL)
        ours, theirs = _socket.socketpair()
        for _ in range(_PRACTICE):
            ours.sendall(job)
            confinement.die_with_parent(self._parent)
            worker.receive_job(theirs)
            worker.rehearse(*self._ready)
        ours.close()
        theirs.close()

    def fork_workers(self, count: int) -> None:
        """Fork workers; send the daemon their process ids and the ends of their sockets."""
        pids: list[int] = []
        ends: list[_socket.socket] = []
        for _ in range(count):
            try:
                ours, theirs = _socket.socketpair()
            except OSError:
                break  # no more descriptors: send what there is
            ends.append(ours)
            try:
                pid = self._clone()
            except OSError:
                ends.pop().close()
                theirs.close()
                break
            if pid == 0:
                self._be_worker(theirs, ends)
            theirs.close()
            pids.append(pid)
        fds = struct.pack(f"{len(ends)}i", *[end.fileno() for end in ends])
        self.control.sendmsg(
            [pack_pids(pids)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)] if ends else []
        )
        for end in ends:
            end.close()

    def _be_worker(
        self, sock: _socket.socket, ends: list[_socket.socket], *, rehearsing: bool = False
    ) -> NoReturn:
        """Serve, in a forked process, and never return into the zygote's code."""
        status = 1
        try:
            self.control.close()
            for end in ends:
                end.close()
            self._pins.close()
            confinement.die_with_parent(self._parent)
            if not self._pins.pinned:  # so that it has copied its pages before its job arrives
                worker.rehearse(*self._ready)
            worker.serve(sock, self._module, self._ready, self._tighten, jobs=1 if rehearsing else self._jobs)
            if rehearsing:
                sock.sendall(_REHEARSED)
                sock.recv(1)  # until the zygote has read which pages were copied
            status = 0
        finally:
            os._exit(status)


def _tightener(running_filter: str | None) -> Callable[[], None]:
    """Return the function that a worker calls before its guest runs: it forbids new processes and more system calls."""
    if running_filter is None:
        return lambda: confinement.limit(resource.RLIMIT_NPROC, 0)
    return confinement.prepared_filter(bytes.fromhex(running_filter))


def _trim() -> None:
    """Give free memory back, and let malloc keep none in workers: the pages would be copied."""
    libc = ctypes.CDLL(None)
    try:
        libc.mallopt(_M_MXFAST, 0)
        libc.malloc_trim(0)
    except AttributeError:  # only glibc has them
        pass


def make_clone(flags: int) -> Callable[[], int]:
    """Return a function that forks by the system call clone(2), without the hooks of libc and Python.

    Raises: KeyError on a processor architecture whose number for the call is not in the table.
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
