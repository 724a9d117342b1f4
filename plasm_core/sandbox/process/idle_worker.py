"""A worker process that waits for its first job, as its parent holds it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

import attrs

from plasm_core.sandbox.process.gas_note import GasNote


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
    note: GasNote | None = None
    """What it notes of its jobs' gas, from the first job on."""

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

    def noted_gas(self, limit: int) -> int:
        """Return the gas that its job used at least, as far as it noted."""
        return 0 if self.note is None else self.note.used(limit)

    def close_note(self) -> None:
        """Release the memory in which the worker noted the gas of its jobs."""
        if self.note is not None:
            self.note.close()
            self.note = None

    def discard(self) -> None:
        """End a worker that has no job, and reap it."""
        self.sock.close()
        self.close_note()
        end_process(self.pid)


def end_process(pid: int) -> None:
    """Kill a child process and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
