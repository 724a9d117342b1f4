"""The restrictions that a child process applies to itself before untrusted work.

Standard library only. Every restriction is permanent: after `lock_down` a process cannot regain a privilege, and its
children inherit that. The seccomp filters come ready-made from the parent
(`plasm_core.sandbox.process.seccomp_filters`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys

TYPE_CHECKING = False  # importing typing would cost every worker
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LINUX_LAYERS = ("no_new_privs", "namespaces", "landlock", "seccomp")
STACK_BYTES = 112 << 20

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_TSYNC = 1, 1
_EBUSY = 16  # importing errno would cost every worker
_SIGKILL = 9  # importing signal, and enum with it, would cost every worker
_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x20000, 0x8000000, 0x10000000, 0x40000000
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_PROT_READ, _PROT_EXEC = 1, 4
_READ_BYTES = 1 << 16
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _prctl(option: int, value: int, pointer: Any = None) -> None:
    zero = ctypes.c_ulong(0)
    third = zero if pointer is None else pointer
    _check(_libc.prctl(option, ctypes.c_ulong(value), third, zero, zero))


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG).

    Repeat after fork and setuid.

    `parent`: the process id of the expected parent, which may have died already.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def limit(kind: int, value: int) -> None:
    """Lower one resource limit, soft and hard, permanently."""
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def open_maps() -> int | None:
    """Return a descriptor of this process's list of mappings for `forbid_writing_code`, or None without /proc.

    Call it before `lock_down`, which forbids to open files.
    """
    try:
        return os.open("/proc/self/maps", os.O_RDONLY)
    except OSError:
        return None


def forbid_writing_code(maps: int | None) -> None:
    """Make all memory that is writable and executable read-only, and close `maps`.

    ctypes keeps its callbacks in such a page. No callback can be created or freed afterwards. Raises: OSError.
    """
    if maps is None:
        return
    text = bytearray()
    while part := os.read(maps, _READ_BYTES):
        text += part
    os.close(maps)
    for line in text.decode("utf-8", "replace").splitlines():
        span, access = line.split(None, 2)[:2]
        if access.startswith("rwx"):
            first, end = (int(address, 16) for address in span.split("-"))
            size = ctypes.c_size_t(end - first)
            _check(_libc.mprotect(ctypes.c_void_p(first), size, _PROT_READ | _PROT_EXEC))


def _try_limit(kind: int, soft: int, hard: int) -> None:
    """Set one resource limit, unless a lower one is set or the platform lacks it."""
    try:  # noqa: SIM105 (contextlib would cost every worker)
        resource.setrlimit(kind, (soft, hard))
    except (ValueError, OSError):
        pass


def limit_resources(*, cpu_s: int, memory_bytes: int) -> None:
    """Limit processor time and private memory.

    RLIMIT_DATA rather than RLIMIT_AS, because engines reserve much address space that they never use. At the limit
    of processor time a process gets SIGXCPU, and SIGKILL a second later: a SIGKILL without SIGXCPU came from
    elsewhere.
    """
    _try_limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)
    _try_limit(resource.RLIMIT_DATA, memory_bytes, memory_bytes)


def allow_deep_stack() -> None:
    """Raise the main thread's stack limit to the bytes that a job's deepest recursion needs on any engine.

    Linux checks the limit when the stack grows, and leaves room for 128 MiB.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    bound = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    _try_limit(resource.RLIMIT_STACK, bound, hard)


def lock_down(spec: dict[str, Any]) -> dict[str, str]:
    """Apply every sandbox layer that the platform has. Return the missing ones, with the reasons.

    `spec`: `parent` (its process id), `uid` (the user to become, if root), `file_bytes`, `filter` (a seccomp
    program in hexadecimal, or null with `filter_missing`, the reason).
    """
    missing: dict[str, str] = {}
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, spec["file_bytes"])
    if sys.platform != "linux":
        for layer in _LINUX_LAYERS:
            missing[layer] = f"{sys.platform} does not have it"
        die_with_parent(spec["parent"])
        return missing
    _attempt("namespaces", _leave_namespaces, missing)
    if os.geteuid() == 0:
        _attempt("unprivileged_uid", lambda: _become(spec["uid"]), missing)
    _drop_capabilities()
    _attempt("no_new_privs", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1), missing)
    _attempt("landlock", _deny_files, missing)
    _prctl(_PR_SET_DUMPABLE, 0)
    die_with_parent(spec["parent"])
    if spec["filter"] is None:
        missing["seccomp"] = spec["filter_missing"]
    else:
        _attempt("seccomp", lambda: prepared_filter(bytes.fromhex(spec["filter"]))(), missing)
    return missing


def _attempt(layer: str, action: Any, missing: dict[str, str]) -> None:
    try:
        action()
    except OSError as exc:
        missing[layer] = str(exc.strerror)


def _leave_namespaces() -> None:
    """Leave the host's network, IPC and mounts; an ordinary user needs a user namespace to."""
    flags = _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWNET
    if os.geteuid() != 0:
        flags |= _CLONE_NEWUSER
    _check(_libc.unshare(flags))


def _become(uid: int) -> None:
    """Become a user that owns nothing and that no other process is."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _drop_capabilities() -> None:
    """Give up the capabilities that an own user namespace brought."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)))


def _deny_files() -> None:
    """Landlock without a single exception: no file can be opened, run, made or removed, no port used."""
    version = _check(_libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))
    rights_of_version = {1: 13, 2: 14, 3: 15, 4: 15}
    files = (1 << rights_of_version.get(version, 16)) - 1
    attributes = [files]
    if version >= 4:
        attributes.append(0b11)  # TCP: bind, connect
    if version >= 6:
        attributes.append(0b11)  # scopes: abstract Unix sockets, signals
    packed = struct.pack(f"<{len(attributes)}Q", *attributes)
    ruleset = _check(_libc.syscall(_LANDLOCK_CREATE_RULESET, packed, len(packed), 0))
    try:
        _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def filter_all_threads(program: bytes) -> None:
    """Install a seccomp program in every thread of this process (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).

    Raises: OSError if one thread cannot have it; then no thread has it.
    """
    number = _SYS_SECCOMP.get(os.uname().machine)
    if number is None:  # no engine with threads is built for such a processor
        prepared_filter(program)()
        return
    prepared = _Program(len(program) // 8, program)
    refusing = _check(
        _libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_TSYNC, ctypes.byref(prepared))
    )
    if refusing:  # not an errno: the kernel returns the id of the thread that it could not filter
        raise OSError(_EBUSY, f"the thread {refusing} cannot have this filter")


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prepared_filter(program: bytes) -> Callable[[], None]:
    """Return a function that installs a seccomp program. It adds restrictions to those of installed programs."""
    prepared = _Program(len(program) // 8, program)
    pointer = ctypes.byref(prepared)
    return lambda: _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, pointer)
