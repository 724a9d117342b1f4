"""Reaching files."""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable
from ctypes import create_string_buffer

from tests.support.attempts.trying import ATTEMPTS, Action, Attempt, Whereabouts, attempt, raw


def _opening(path: str, flags: int = os.O_RDONLY) -> Action:
    def act(_where: Whereabouts) -> object:
        fd = os.open(path, flags)
        os.close(fd)
        return path

    return act


for _name, _path in {
    "open_passwd": "/etc/passwd",
    "open_own_maps": "/proc/self/maps",
    "open_init_status": "/proc/1/status",
    "open_random": "/dev/urandom",
    "open_standard_library": os.__file__,
}.items():
    ATTEMPTS[_name] = Attempt(_opening(_path), "anyone")
ATTEMPTS["open_own_memory"] = Attempt(_opening("/proc/self/mem", os.O_RDWR), "anyone")
ATTEMPTS["open_path_only"] = Attempt(_opening("/etc", getattr(os, "O_PATH", 0)), "anyone")
ATTEMPTS["open_shadow"] = Attempt(_opening("/etc/shadow"), "root")


@attempt()
def open_cmdline_of_daemon(where: Whereabouts) -> object:
    fd = os.open(f"/proc/{where.daemon}/cmdline", os.O_RDONLY)
    return os.read(fd, 100).decode()


@attempt()
def create_in_tmp(_where: Whereabouts) -> object:
    path = f"/tmp/plasm-hostile-{time.monotonic_ns()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    os.unlink(path)
    return path


@attempt()
def open_through_a_directory(_where: Whereabouts) -> object:
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    return os.open("etc/passwd", os.O_RDONLY, dir_fd=directory)


@attempt("none")
def open_through_inherited_descriptors(_where: Whereabouts) -> object:
    """Take every descriptor for a directory."""
    for fd in range(64):
        try:
            return os.open("etc/passwd", os.O_RDONLY, dir_fd=fd)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EACCES, errno.EBADF, errno.ENOTDIR):
                raise
    raise PermissionError(errno.EPERM, "none of them is one")


@attempt()
def openat2(_where: Whereabouts) -> object:
    return raw("openat2", -100, b"/etc/passwd", struct.pack("<QQQ", os.O_RDONLY, 0, 0), 24)


@attempt()
def open_legacy(_where: Whereabouts) -> object:
    return raw("open", b"/etc/passwd", os.O_RDONLY, 0)


@attempt()
def stat_passwd(_where: Whereabouts) -> object:
    return os.stat("/etc/passwd").st_size


@attempt()
def stat_a_process(where: Whereabouts) -> object:
    return os.stat(f"/proc/{where.daemon}").st_uid


@attempt()
def access_passwd(_where: Whereabouts) -> object:
    return raw("faccessat", -100, b"/etc/passwd", 0)


@attempt()
def stat_filesystem(_where: Whereabouts) -> object:
    return os.statvfs("/").f_blocks


@attempt()
def list_root(_where: Whereabouts) -> object:
    return os.listdir("/")


@attempt()
def list_processes(_where: Whereabouts) -> object:
    return [name for name in os.listdir("/proc") if name.isdigit()]


@attempt()
def list_own_descriptors(_where: Whereabouts) -> object:
    return os.listdir("/proc/self/fd")


@attempt()
def read_link(_where: Whereabouts) -> object:
    return os.readlink("/proc/self/exe")


@attempt()
def change_directory(_where: Whereabouts) -> object:
    os.chdir("/")
    return True


@attempt()
def get_working_directory(_where: Whereabouts) -> object:
    return raw("getcwd", create_string_buffer(4_096), 4_096)


def _in_tmp(act: Callable[[str], object]) -> Action:
    return lambda _where: act(f"/tmp/plasm-hostile-{time.monotonic_ns()}")


def _make_directory(path: str) -> object:
    os.mkdir(path)
    os.rmdir(path)
    return path


def _make_link(path: str) -> object:
    os.symlink("/etc/passwd", path)
    os.unlink(path)
    return path


def _make_pipe(path: str) -> object:
    os.mkfifo(path)
    os.unlink(path)
    return path


ATTEMPTS["make_directory"] = Attempt(_in_tmp(_make_directory), "anyone")
ATTEMPTS["make_symbolic_link"] = Attempt(_in_tmp(_make_link), "anyone")
ATTEMPTS["make_named_pipe"] = Attempt(_in_tmp(_make_pipe), "anyone")


@attempt()
def watch_files(_where: Whereabouts) -> object:
    return raw("inotify_init1", 0)


@attempt()
def make_anonymous_file(_where: Whereabouts) -> object:
    return os.memfd_create("hostile")


@attempt()
def make_secret_memory(_where: Whereabouts) -> object:
    return raw("memfd_secret", 0)
