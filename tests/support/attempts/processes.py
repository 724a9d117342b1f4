"""Making processes, and reaching those of others."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable
from ctypes import addressof, create_string_buffer
from typing import Any

from tests.support.attempts.trying import (
    ATTEMPTS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    Action,
    Attempt,
    Whereabouts,
    attempt,
    raw,
)


@attempt()
def run_a_program(_where: Whereabouts) -> object:
    os.execv("/bin/true", ["true"])


@attempt()
def run_a_program_by_descriptor(_where: Whereabouts) -> object:
    empty = (ctypes.c_char_p * 1)()
    return raw("execveat", -100, b"/bin/true", empty, empty, 0)


@attempt()
def fork(_where: Whereabouts) -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


_CLONE_VM, _CLONE_FS, _CLONE_FILES, _CLONE_SIGHAND = 0x100, 0x200, 0x400, 0x800
_CLONE_VFORK, _CLONE_PARENT, _CLONE_THREAD, _CLONE_SYSVSEM = 0x4000, 0x8000, 0x10000, 0x40000
_CLONE_UNTRACED = 0x800000


def _cloning(flags: int) -> Action:
    def act(_where: Whereabouts) -> object:
        pid = raw("clone", flags, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0x40000000)  # __WALL: whatever it tells its parent
        return True

    return act


for _name, _flags, _control in (
    ("clone_silently", 0, "anyone"),
    ("clone_as_fork_does", signal.SIGCHLD, "anyone"),
    ("clone_as_the_zygote_does", _CLONE_PARENT | signal.SIGCHLD, "none"),
    ("clone_with_high_bits", (1 << 40) | _CLONE_PARENT | signal.SIGCHLD, "none"),
    ("clone_sharing_descriptors", _CLONE_FILES | _CLONE_FS | signal.SIGCHLD, "anyone"),
    ("clone_untraced", _CLONE_UNTRACED | signal.SIGCHLD, "anyone"),
    ("clone_into_a_user_namespace", CLONE_NEWUSER | signal.SIGCHLD, "none"),
    ("clone_into_a_pid_namespace", CLONE_NEWPID | signal.SIGCHLD, "root"),
    ("clone_as_vfork_does", _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD, "none"),
    (
        "clone_a_thread",
        _CLONE_VM | _CLONE_FS | _CLONE_FILES | _CLONE_SIGHAND | _CLONE_THREAD | _CLONE_SYSVSEM,
        "none",
    ),
):
    ATTEMPTS[_name] = Attempt(_cloning(_flags), _control)


@attempt()
def clone3(_where: Whereabouts) -> object:
    pid = raw("clone3", struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0), 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


@attempt("none")
def vfork(_where: Whereabouts) -> object:
    return raw("vfork")


_PTRACE_TRACEME, _PTRACE_SEIZE, _PTRACE_DETACH = 0, 0x4206, 17


@attempt("none")
def ptrace_being_traced(_where: Whereabouts) -> object:
    return raw("ptrace", _PTRACE_TRACEME, 0, 0, 0)


@attempt("root")
def ptrace_daemon(where: Whereabouts) -> object:
    return raw("ptrace", _PTRACE_SEIZE, where.daemon, 0, 0)


@attempt()
def ptrace_sibling(where: Whereabouts) -> object:
    return raw("ptrace", _PTRACE_SEIZE, where.sibling, 0, 0)


_TARGETED: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "kill": lambda pid: (pid, 0),
    "tkill": lambda pid: (pid, 0),
    "tgkill": lambda pid: (pid, pid, 0),
    "pidfd_open": lambda pid: (pid, 0),
    "sched_getaffinity": lambda pid: (pid, 128, create_string_buffer(128)),
    "sched_getscheduler": lambda pid: (pid,),
    "getpgid": lambda pid: (pid,),
    "prlimit64": lambda pid: (pid, 7, None, create_string_buffer(16)),
}


def _aiming(name: str, arguments: Callable[[int], tuple[Any, ...]], target: str) -> Action:
    return lambda where: raw(name, *arguments(getattr(where, target)))


for _name, _of in _TARGETED.items():
    for _target in ("daemon", "sibling"):
        ATTEMPTS[f"{_name}_{_target}"] = Attempt(_aiming(_name, _of, _target), "anyone")


@attempt()
def kill_everything(_where: Whereabouts) -> object:
    """Ask whether it may signal any process at all."""
    return raw("kill", -1, 0)


def _reading_memory(call: str, target: str) -> Action:
    """Read or write some bytes of another process, at an address that it has if it is a fork of this one."""

    def act(where: Whereabouts) -> object:
        own = create_string_buffer(b"mine", 8)
        local = struct.pack("<QQ", addressof(own), 4)
        remote = struct.pack("<QQ", 8, 4)  # nothing is there: EFAULT is success
        try:
            return raw(call, getattr(where, target), local, 1, remote, 1, 0)
        except OSError as exc:
            if exc.errno == errno.EFAULT:
                return "allowed"
            raise

    return act


for _target in ("daemon", "sibling"):
    for _call in ("process_vm_readv", "process_vm_writev"):
        ATTEMPTS[f"{_call}_{_target}"] = Attempt(_reading_memory(_call, _target), "anyone")


@attempt()
def queue_a_signal(where: Whereabouts) -> object:
    return raw("rt_sigqueueinfo", where.sibling, 0, struct.pack("<iii116x", 0, 0, -1))


@attempt()
def get_a_descriptor_of_the_daemon(where: Whereabouts) -> object:
    fd = raw("pidfd_open", where.daemon, 0)
    return raw("pidfd_getfd", fd, 0, 0)


@attempt("none")
def wait_for_children(_where: Whereabouts) -> object:
    return raw("wait4", -1, None, 1, None)


@attempt("none")
def leave_the_session(_where: Whereabouts) -> object:
    return raw("setsid")
