"""Run a command where the system denies something: `python -m tests.support.denied WHAT MODULE [ARGUMENT...]`."""

from __future__ import annotations

import ctypes
import errno
import platform
import resource
import runpy
import struct
import sys
import tempfile

_MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def deny_memfd_create() -> None:
    """Have memfd_create(2) fail in this process and its children, as some containers do."""
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 0),
            (_IF_EQUAL, 0, 1, _MEMFD_CREATE[platform.machine()]),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    kept = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _FILTER, described, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def deny_temporary_directory() -> None:
    """Have no directory for temporary files."""
    tempfile.tempdir = "/nonexistent"


def main() -> None:
    what, module, *arguments = sys.argv[1:]
    for item in what.split(","):
        name, _, value = item.partition("=")
        if name == "memfd":
            deny_memfd_create()
        elif name == "temporary":
            deny_temporary_directory()
        else:
            number = getattr(resource, f"RLIMIT_{name.upper()}")
            resource.setrlimit(number, (int(value), int(value)))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
