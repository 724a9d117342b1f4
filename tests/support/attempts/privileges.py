"""Becoming more than a worker is, and the rarely used parts of the kernel."""

from __future__ import annotations

import struct
from ctypes import create_string_buffer
from typing import Any

from tests.support.attempts.trying import (
    ATTEMPTS,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    Action,
    Attempt,
    Whereabouts,
    attempt,
    raw,
)

_PRIVILEGES: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "unshare_user": ("unshare", (CLONE_NEWUSER,), "anyone"),
    "unshare_mounts": ("unshare", (CLONE_NEWNS,), "root"),
    "unshare_network": ("unshare", (CLONE_NEWNET,), "root"),
    "setns": ("setns", (0, 0), "none"),
    "mount": ("mount", (b"none", b"/", b"plasm-none", 0, None), "none"),
    "unmount": ("umount2", (b"/plasm-none", 0), "none"),
    "pivot_root": ("pivot_root", (b"/plasm-none", b"/plasm-none"), "none"),
    "chroot": ("chroot", (b"/",), "root"),
    "setuid": ("setuid", (0,), "root"),
    "setresuid": ("setresuid", (0, 0, 0), "root"),
    "setgroups": ("setgroups", (0, None), "root"),
    "set_capabilities": ("capset", (struct.pack("<Ii", 0x20080522, 0), bytes(24)), "anyone"),
    "become_dumpable": ("prctl", (4, 1, 0, 0, 0), "anyone"),
    "outlive_the_daemon": ("prctl", (1, 0, 0, 0, 0), "anyone"),
    "unconfined_by_prctl": ("prctl", (22, 0, 0, 0, 0), "none"),
    "seccomp": ("seccomp", (2, 0, struct.pack("<I", 0x7FFF0000)), "anyone"),
    "executable_by_personality": ("personality", (0x0400000,), "anyone"),
    "set_timer": ("setitimer", (0, bytes(32), None), "anyone"),
    "set_priority": ("setpriority", (0, 0, 19), "anyone"),
    "set_affinity": ("sched_setaffinity", (0, 8, struct.pack("<Q", 1)), "anyone"),
    "set_scheduler": ("sched_setscheduler", (0, 3, struct.pack("<I", 0)), "anyone"),
    "set_host_name": ("sethostname", (None, -1), "none"),
    "set_clock": ("clock_settime", (0, None), "none"),
    "load_kernel_module": ("finit_module", (-1, b"", 0), "none"),
    "port_input_output": ("iopl", (3,), "none"),
    "read_kernel_log": ("syslog", (10, None, 0), "root"),
    # The rest of the kernel's surface, with arguments that do nothing if they are let through.
    "io_uring": ("io_uring_setup", (8, create_string_buffer(120)), "none"),
    "io_uring_requests": ("io_uring_enter", (-1, 1, 0, 0, 0), "none"),
    "io_uring_files": ("io_uring_register", (-1, 2, None, 0), "none"),
    "io_uring_enable": ("io_uring_register", (-1, 12, None, 0), "none"),
    "register_buffers": ("io_uring_register", (-1, 0, None, 0), "none"),
    "bpf": ("bpf", (0, create_string_buffer(128), 128), "none"),
    "perf_events": ("perf_event_open", (None, 0, -1, -1, 0), "none"),
    "keyring": ("keyctl", (0, -3, 0), "none"),
    "add_key": ("add_key", (b"user", b"plasm", b"x", 1, -2), "none"),
    "page_faults_in_user_space": ("userfaultfd", (1,), "none"),
    "shared_memory": ("shmget", (0, 4096, 0o1600), "none"),
    "message_queue": ("msgget", (0, 0o1600), "none"),
    "semaphores": ("semget", (0, 1, 0o1600), "none"),
    "pipe": ("pipe2", (create_string_buffer(8), 0), "anyone"),
    "event_descriptor": ("eventfd2", (0, 0), "anyone"),
    "polling_descriptor": ("epoll_create1", (0,), "anyone"),
    "timer_descriptor": ("timerfd_create", (1, 0), "anyone"),
    "duplicate": ("dup", (0,), "anyone"),
    "control_descriptor": ("fcntl", (0, 1, 0), "anyone"),
    "control_device": ("ioctl", (0, 0x5412, b"x"), "none"),
    "own_landlock": ("landlock_create_ruleset", (None, 0, 1), "none"),
    "own_identity": ("getuid", (), "anyone"),
    "own_process_id": ("getpid", (), "anyone"),
    "name_of_the_system": ("uname", (create_string_buffer(400),), "anyone"),
    "lock_memory": ("mlockall", (1,), "none"),
    "local_descriptor_table": ("modify_ldt", (0, create_string_buffer(16), 16), "anyone"),
    "segment_registers": ("arch_prctl", (0x1003, create_string_buffer(8)), "anyone"),
}


def _calling(call: str, arguments: tuple[Any, ...]) -> Action:
    return lambda _where: raw(call, *arguments)


for _name, (_call, _arguments, _control) in _PRIVILEGES.items():
    ATTEMPTS[_name] = Attempt(_calling(_call, _arguments), _control)


@attempt("none")
def mount_in_an_own_namespace(_where: Whereabouts) -> object:
    """Become root of namespaces of one's own, and use it."""
    raw("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    return raw("mount", b"none", b"/", b"tmpfs", 0, None)


_RESOURCES = {"processes": 6, "files": 7, "file_size": 1, "core": 4, "data": 2, "processor_time": 0}


def _raising(resource: int) -> Action:
    return lambda _where: raw("prlimit64", 0, resource, struct.pack("<QQ", 2**62, 2**62), None)


for _name, _resource in _RESOURCES.items():
    ATTEMPTS[f"raise_limit_of_{_name}"] = Attempt(_raising(_resource), "none")
