"""`plasmd --detach` and `plasmd --stop`: start a daemon in the background until it is ready, and end it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from plasm_core import paths
from plasm_core.cli import exits, render
from plasm_core.errors import PeerUnreachableError
from plasm_core.logs import logged_failure
from plasm_core.ownership import check_owner

READY_S = 120.0
"""How long the command waits for the daemon to be ready."""
_LOG_BYTES = 4000
_ENDED_S = 10.0
"""How long the command waits for a daemon to end, beyond the time that its jobs get."""


def log_file() -> Path:
    """Return the file to which a daemon in the background writes its log."""
    return paths.state_directory() / "plasmd.log"


def detach(release: Callable[[], None]) -> Callable[[], None]:
    """Continue in a child process in the background; this process waits until the child is ready, and exits.

    No other thread may run yet. The child writes its log to `log_file`. `release` is called in this process to
    release the resources that the child takes over. Return the function that the child calls when it is ready.
    """
    log = log_file()
    paths.private_directory(log.parent)
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    check_owner(os.fstat(written), log)
    began = os.fstat(written).st_size
    waiting, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(waiting)
        _settle(written)

        def tell() -> None:
            with contextlib.suppress(BrokenPipeError):
                os.write(telling, b"1")
            os.close(telling)

        return tell
    os.close(written)
    os.close(telling)
    release()
    code = _started(child, waiting)
    if code is None:
        text = f"plasmd is ready: pid {child}, log {log}; stop it with: plasmd --stop"
        render.show_mark("✓", text, stderr=True)
        sys.exit(exits.OK)
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - _LOG_BYTES))
        _show_failure(file.read(_LOG_BYTES).decode("utf-8", "replace"))
    sys.exit(code)


def _show_failure(text: str) -> None:
    """Show what a daemon logged that did not start. Of a log in JSON only the error that ended it, in words."""
    failures = filter(None, map(logged_failure, reversed(text.splitlines())))
    last = next(failures, None)
    if last is None:
        render.show_page(text, stderr=True)
    else:
        render.show_error(*last)


def _settle(log: int) -> None:
    """Leave the terminal: a session of its own, no standard input, and the log as standard output and error."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((null, log, log)):
        os.dup2(fd, number)
    os.close(null)
    os.close(log)
    for variable in (
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
    ):  # they belong to the command that started this process, which ends now
        os.environ.pop(variable, None)


def _started(child: int, waiting: int) -> int | None:
    """Wait until a child says that it is ready. Return None then, else the exit code."""
    if not select.select([waiting], [], [], READY_S)[0]:
        os.kill(child, signal.SIGTERM)
        render.show_error(f"the daemon was not ready within {READY_S:.0f} s")
        return exits.FAILURE
    if os.read(waiting, 1):
        return None
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) or exits.FAILURE


def stop(path: Path, shutdown_s: float) -> None:
    """End the daemon that listens on a socket, and wait until it has ended.

    Raises: `PeerUnreachableError` if no daemon listens there, or it is not this user's.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(str(path))
        except OSError as exc:
            raise PeerUnreachableError(f"no daemon answers on {path}: {exc.strerror or exc}") from exc
        pid, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        process = os.pidfd_open(pid)
    try:
        if user != os.geteuid() and os.geteuid() != 0:
            raise PeerUnreachableError(f"the daemon on {path} is run by another user (uid {user})")
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], shutdown_s + _ENDED_S)[0]:
            raise PeerUnreachableError(f"the daemon (pid {pid}) has not ended yet: its jobs still run")
    finally:
        os.close(process)
    render.show_mark("✓", f"plasmd has ended (pid {pid})", stderr=True)
