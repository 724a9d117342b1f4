"""The seccomp filters of child processes: the system calls that each kind of process may make.

`zygote_process` and `spawner` choose the filters of zygotes and workers, `plasm_core.sandbox.admission.admission` that
of a process that validates or compiles.

The parent builds them with libseccomp and passes them on as BPF programs, so that a child needs no library to install
one. A system call that is not listed fails with EPERM: engines look for files when they trap, and continue without
them.
"""

from __future__ import annotations

import errno
import functools
import os
import secrets
import signal
from collections.abc import Callable
from typing import Any

from plasm_core.sandbox.process.page_pinning import REGISTER_BUFFERS
from plasm_core.scratch_file import scratch_file

_PROT_EXEC = 0x4
_CLONE_PARENT = 0x8000
_CLONE_THREAD = 0x10000
_AF_UNIX = 1
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_SECCOMP = 1, 15, 22

FORK_FLAGS = _CLONE_PARENT | signal.SIGCHLD
"""What a zygote forks with: the child is the daemon's, which reaps it and learns what it used."""

# The system calls of a worker while its guest runs: memory, its socket and standard input, time, its end.
_RUNNING = frozenset(
    {
        *("brk", "madvise", "mremap", "munmap"),  # and mmap, mprotect, but not of executable memory
        *("close", "pread64", "read", "recvfrom", "recvmsg", "sendto", "write"),
        *("clock_gettime", "clock_nanosleep", "futex", "getrandom", "getrusage"),
        *("exit", "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
    }
)

# Additional system calls of a zygote: for loading, for its descriptors, for limits and for forking.
_LOADING = _RUNNING | {
    *("fcntl", "fstat", "ftruncate", "lseek", "memfd_create"),
    *("dup2", "dup3", "poll", "ppoll", "sendmsg"),
    *("getpid", "getppid", "gettid", "prlimit64", "rseq", "set_robust_list"),
    *("sched_getaffinity", "sched_yield", "uname"),
}
_COMPILING = _LOADING | {"pwrite64"}

# Protection keys (pkeys(7)): with them V8 guards its code, on processors that have them. They add nothing to what
# mprotect allows.
_PROTECTION_KEYS = frozenset({"pkey_alloc", "pkey_free", "pkey_mprotect"})

# The system calls of V8 while a guest runs: for code that it writes and then runs, and for locks between threads.
_COMPILING_WHILE_RUNNING = _RUNNING | {
    *("gettid", "membarrier", "mmap", "mprotect", "pkey_mprotect", "sched_yield"),
}


@functools.cache
def running() -> dict[str, Any]:
    """Return the filter of a worker that runs a guest. It also forbids new executable memory."""
    return _filter(_running_rules)


@functools.cache
def running_just_in_time() -> dict[str, Any]:
    """Return the filter of a worker whose engine compiles while the guest runs: executable memory, but no threads."""
    return _filter(lambda program, library: _allow(program, library, _COMPILING_WHILE_RUNNING))


@functools.cache
def loading_with_threads() -> dict[str, Any]:
    """Return the filter of a worker that loads a module on an engine with threads, before its guest runs."""
    return _filter(_loading_with_threads_rules)


@functools.cache
def loading() -> dict[str, Any]:
    """Return the filter of a zygote, which loads a module and forks workers."""
    return _filter(_loading_rules)


@functools.cache
def compiling(*, threads: bool) -> dict[str, Any]:
    """Return the filter of a child that validates or compiles, with threads if its engine starts some."""
    return _filter(_threaded_rules if threads else _compiling_rules)


def _filter(rules: Callable[[Any, Any], None]) -> dict[str, Any]:
    """Return `filter` and `filter_missing` as `confinement.lock_down` takes them."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as exc:
        return {"filter": None, "filter_missing": f"no libseccomp: {exc}"}
    try:
        program = pyseccomp.SyscallFilter(defaction=pyseccomp.ERRNO(errno.EPERM))
        rules(program, pyseccomp)
        with scratch_file() as file:
            program.export_bpf(file)
            file.seek(0)
            return {"filter": file.read().hex(), "filter_missing": None}
    except OSError as exc:
        return {"filter": None, "filter_missing": f"libseccomp failed: {exc}"}


def _allow(program: Any, library: Any, names: frozenset[str]) -> None:
    for name in sorted(names):
        try:
            program.add_rule(library.ALLOW, name)
        except OSError:
            continue  # this processor has no such call: nothing to allow


def _running_rules(program: Any, library: Any) -> None:
    _allow(program, library, _RUNNING)
    for name in ("mmap", "mprotect"):
        program.add_rule(library.ALLOW, name, library.Arg(2, library.MASKED_EQ, _PROT_EXEC, 0))


def _loading_rules(program: Any, library: Any) -> None:
    _allow(program, library, _LOADING | {"mmap", "mprotect"})
    program.add_rule(library.ALLOW, "clone", library.Arg(0, library.EQ, FORK_FLAGS))
    program.add_rule(library.ALLOW, "socketpair", library.Arg(0, library.EQ, _AF_UNIX))
    program.add_rule(library.ALLOW, "io_uring_register", library.Arg(1, library.EQ, REGISTER_BUFFERS))
    for option in (_PR_SET_PDEATHSIG, _PR_SET_SECCOMP):
        program.add_rule(library.ALLOW, "prctl", library.Arg(0, library.EQ, option))


def _loading_with_threads_rules(program: Any, library: Any) -> None:
    _threaded_rules(program, library)
    _allow(program, library, frozenset({"membarrier", "seccomp"}))
    program.add_rule(library.ALLOW, "prctl", library.Arg(0, library.EQ, _PR_SET_NAME))


def _compiling_rules(program: Any, library: Any) -> None:
    _allow(program, library, _COMPILING | {"mmap", "mprotect"})


def _threaded_rules(program: Any, library: Any) -> None:
    _compiling_rules(program, library)
    _allow(program, library, _PROTECTION_KEYS)
    program.add_rule(library.ALLOW, "clone", library.Arg(0, library.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    # clone3 hides its flags from a filter: glibc falls back on clone.
    program.add_rule(library.ERRNO(errno.ENOSYS), "clone3")


def confinement(program: dict[str, Any], *, file_bytes: int) -> dict[str, Any]:
    """Return the argument of `confinement.lock_down` for a child of this process."""
    return {
        "parent": os.getpid(),
        "uid": (1 << 30) + secrets.randbelow(1 << 30),
        "file_bytes": file_bytes,
        **program,
    }
