"""What is asked of a worker rather than attempted."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from ctypes import create_string_buffer, string_at

from tests.support.attempts.trying import Action, Whereabouts, libc, numbers, raw, raw_number

MAX_FD = 1_024
_PAST_FILTERS = {335, 336} if os.uname().machine == "x86_64" else set()
"""uretprobe and uprobe, which Linux lets past every filter, and answers with SIGILL (kernel/seccomp.c)."""


def kind_of(fd: int) -> str:
    """Tell what a descriptor is by calls that a worker may make."""
    buffer = create_string_buffer(1)
    try:
        raw("recvfrom", fd, buffer, 1, 0x42, 0, 0)  # peek, do not wait
        return "socket"
    except OSError as exc:
        if exc.errno == errno.EBADF:
            return "closed"
        if exc.errno != errno.ENOTSOCK:
            return "socket"
    return "file"


def _tried(action: Callable[[], object]) -> object:
    try:
        return action()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]


def _descriptors(_where: Whereabouts) -> object:
    """List the open descriptors: kind, the first bytes to be read from it, whether it takes bytes."""
    found = {}
    for fd in range(MAX_FD):
        kind = kind_of(fd)
        if kind == "closed":
            continue
        entry: dict[str, object] = {"kind": kind}
        if kind == "file":
            entry["read"] = _tried(lambda fd=fd: os.pread(fd, 64, 0).decode())  # type: ignore[misc]
            entry["write"] = _tried(lambda fd=fd: os.write(fd, b"x"))  # type: ignore[misc]
        found[fd] = entry
    return found


def _send_everywhere(_where: Whereabouts) -> object:
    """Send the zygote's command to fork on every descriptor that is not the worker's first socket."""
    sockets = [fd for fd in range(MAX_FD) if kind_of(fd) == "socket"]
    sent = []
    for fd in range(MAX_FD):
        if fd in sockets[:1]:
            continue
        try:
            raw("sendto", fd, b"1", 1, 0, 0, 0)
            sent.append(fd)
        except OSError:
            continue
    return sent


def _environment(_where: Whereabouts) -> object:
    block = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
    strings: list[str] = []
    while block and (string := block[len(strings)]) is not None:
        strings.append(string.decode())
    return {"python": dict(os.environ), "libc": strings, "argv": sys.argv}


def _sweep(_where: Whereabouts) -> object:
    """Make every system call there is with arguments that are never right. Return what did not give EPERM."""
    allowed = {number for name, number in numbers.items() if name in WORKER_CALLS}
    allowed |= _PAST_FILTERS
    odd = {}
    for number in range(MAX_CALL):
        if number in allowed:
            continue
        try:
            raw_number(number, -1, -1, -1, -1, -1, -1)
            odd[number] = "success"
        except OSError as exc:
            if exc.errno != errno.EPERM:
                odd[number] = errno.errorcode[exc.errno or 0]
    return odd


def _x32(_where: Whereabouts) -> object:
    return raw_number(0x40000000 | 39)


def _wait(_where: Whereabouts) -> object:
    while True:  # time.sleep takes another call on Python 3.10
        raw("clock_nanosleep", 1, 0, struct.pack("<qq", 1, 0), None)


def _crash(_where: Whereabouts) -> object:
    return string_at(8)


QUESTIONS: dict[str, Action] = {
    "crash": _crash,
    "descriptors": _descriptors,
    "environment": _environment,
    "send_everywhere": _send_everywhere,
    "sweep": _sweep,
    "wait": _wait,
    "x32": _x32,
}

MAX_CALL = 480
WORKER_CALLS = frozenset(
    [
        "pread64",
        "read",
        "write",
        "close",
        "sendto",
        "recvfrom",
        "recvmsg",
        "exit",
        "exit_group",
        "futex",
        "mmap",
        "munmap",
        "mremap",
        "mprotect",
        "madvise",
        "brk",
        "rt_sigreturn",
        "rt_sigprocmask",
        "rt_sigaction",
        "sigaltstack",
        "clock_gettime",
        "clock_nanosleep",
        "getrandom",
        "getrusage",
    ]
)
"""The system calls a worker makes: what is not among them it must not be able to make."""
