"""A Unix socket to listen on: made in one step with its permissions, never taken from a daemon that lives."""

from __future__ import annotations

import errno
import grp
import os
import secrets
import socket
import stat
from pathlib import Path

from plasm_core.errors import TransportError
from plasm_core.ownership import check_directory
from plasm_core.paths import fallback_directory, own_socket

BACKLOG = 256
_MAX_PATH_BYTES = 104
"""Of sun_path: 108 on Linux, 104 on macOS."""


def bind(path: Path, *, mode: int, group: str | None, trial: bool = False) -> socket.socket:
    """Return a listening socket at a path. Raises: `TransportError`.

    `trial`: leave it without a name, so that no client finds it.
    """
    if len(os.fsencode(path)) >= _MAX_PATH_BYTES:
        raise TransportError(f"the path of the socket is too long for the system: {path}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
        # A volume that containers share is open to all: clients recognise an impostor by the owner of its process.
        check_directory(path.parent, own=False, shared=True)
        _clear(path)
        return _bound(path, mode, group, trial=trial)
    except OSError as exc:
        raise TransportError(f"cannot listen on {path}: {exc.strerror or exc}", hint=_hint(path)) from exc


def _hint(path: Path) -> str:
    """Return what to do if a socket cannot be made: after `su` without `-` the variable is that of another user."""
    session, fallback = os.environ.get("XDG_RUNTIME_DIR"), fallback_directory()
    if session and path == own_socket({"XDG_RUNTIME_DIR": session}) and path.parent != fallback:
        return f"XDG_RUNTIME_DIR is no directory of yours: unset it, and the daemon listens in {fallback}"
    return "name another socket with PLASM_SOCKET, or --set transport.local.socket=PATH"


def _clear(path: Path) -> None:
    """Remove a socket on which no process listens any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise TransportError(f"cannot listen on {path}: it exists and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
    raise TransportError(
        f"a daemon listens on {path} already", hint="stop it, or name another socket with PLASM_SOCKET"
    )


def _bound(path: Path, mode: int, group: str | None, *, trial: bool) -> socket.socket:
    temporary = path.with_name(f".{secrets.token_hex(4)}")  # short: it must fit into sun_path, too
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(str(temporary))
        os.umask(before)
        if group is not None:
            os.chown(temporary, -1, _group_id(group))
        temporary.chmod(mode)
        sock.listen(BACKLOG)
        if trial:
            temporary.unlink()
        else:
            temporary.rename(path)  # from here on the permitted users can see the socket and connect
    except BaseException:
        os.umask(before)
        sock.close()
        temporary.unlink(missing_ok=True)
        raise
    return sock


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise OSError(errno.EINVAL, f"there is no group {name}") from None
