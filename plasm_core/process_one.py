"""Be the init of a container that has none: forward signals, and reap orphans (pid_namespaces(7)).

Process 1 of a PID namespace inherits every orphan, and nobody else can remove one that has ended. Signals that it has
no handler for do nothing, so SIGTERM would be lost until the daemon has set its handler. So process 1 starts what it
was started for as its child, and does nothing else.
"""

from __future__ import annotations

import os
import signal

_FORWARDED = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
_SI_KERNEL = 0x80
"""`si_code` of a signal from the terminal (sigaction(2)).

The whole process group gets it, except SIGHUP at the terminal's end, which only the leader of the session gets.
"""


def continue_in_child() -> None:
    """Return in a child process if this is process 1, which then exits as the child does; otherwise do nothing.

    Call it before any thread runs. A child that a signal ends makes the exit code 128 and the signal's number.
    """
    if os.getpid() != 1:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored ones would leave no exit code
    waited = _FORWARDED | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        received = signal.sigwaitinfo(waited)
        if received.si_signo == signal.SIGCHLD:
            status = _reap(child)
            if status is not None:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
        elif received.si_code != _SI_KERNEL or received.si_signo == signal.SIGHUP:
            os.kill(child, received.si_signo)


def _reap(child: int) -> int | None:
    """Reap every child that has ended. Return the wait status of `child` if it is among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return status
        if pid == 0:
            return None
