"""Check the owner of a daemon's socket: a client trusts answers from it as those of its own node."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from plasm_core.errors import ConfigError, PeerUnreachableError

SYSTEM_DIRECTORY = Path("/run/plasm")
"""Where the service manager has a daemon's user own a directory that only root could make."""


def user_named(name: str | None) -> int | None:
    """Return the user id of a name or number, None for none. Raises: `ConfigError`."""
    if name is None:
        return None
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"transport.local.trusted_user: there is no user {name}") from None


def check_server(path: Path, user: int | None, trusted: int | None) -> None:
    """Check that the process behind a socket belongs to this user, to root, or to a trusted user.

    `user`: the process's user id. None if the platform does not report it: then the owners of the socket and of its
    directory are checked.

    Raises: `PeerUnreachableError`.
    """
    allowed = {os.geteuid(), 0}
    if trusted is not None:
        allowed.add(trusted)
    system = _system_user(path)
    if system is not None:
        allowed.add(system)
    try:
        found = {user} if user is not None else {path.lstat().st_uid, path.parent.stat().st_uid}
    except OSError as exc:
        raise PeerUnreachableError(f"cannot tell whose socket {path} is: {exc.strerror}") from exc
    strangers = found - allowed
    if strangers:
        who = ", ".join(_name(uid) for uid in sorted(strangers))
        raise PeerUnreachableError(
            f"the daemon on {path} is run by {who}, not by you or root: it could answer anything",
            hint=f"if you trust that user, say so: --set transport.local.trusted_user={min(strangers)}",
        )


def _system_user(path: Path) -> int | None:
    """Return the owner of the system's directory, if the socket is in it and only root could have created the
    directory.
    """
    if Path(os.path.abspath(path.parent)) != SYSTEM_DIRECTORY:
        return None
    try:
        above, own = SYSTEM_DIRECTORY.parent.lstat(), SYSTEM_DIRECTORY.lstat()
    except OSError:
        return None
    closed = above.st_uid == 0 and not above.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    is_directory = stat.S_ISDIR(own.st_mode) and not own.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return own.st_uid if closed and is_directory else None


def _name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"
