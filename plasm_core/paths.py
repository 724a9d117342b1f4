"""Where state, cache and configuration live (docs/operations.md)."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from plasm_core.errors import ConfigError
from plasm_core.ownership import check_directory, check_file, check_owner, open_regular

_SECRET_BYTES = 32


def _home(variable: str, fallback: str) -> Path:
    """Return a directory of the XDG specification. Raises: `ConfigError` if there is no home to put it in."""
    value = os.environ.get(variable, "")
    # The XDG specification has relative paths ignored.
    if value.startswith("/"):
        return Path(value)
    home = _home_directory()
    if home is None:
        raise ConfigError(
            "there is no home directory: HOME is not set, and this user is not in the list of users",
            hint=f"set HOME, or {variable}, to a directory that may be written to",
        )
    return home / fallback


def _home_directory() -> Path | None:
    value = os.environ.get("HOME", "")
    if not value:
        try:
            value = pwd.getpwuid(os.getuid()).pw_dir
        except (KeyError, OSError):
            return None
    return Path(value) if value.startswith("/") else None


def state_directory() -> Path:
    """Return `$STATE_DIRECTORY` (systemd), else `$XDG_STATE_HOME/plasm`."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(given) if given else _home("XDG_STATE_HOME", ".local/state") / "plasm"


def cache_directory() -> Path:
    """Return `$CACHE_DIRECTORY` (systemd), else `$XDG_CACHE_HOME/plasm`."""
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    return Path(given) if given else _home("XDG_CACHE_HOME", ".cache") / "plasm"


def config_file() -> Path | None:
    """Return the default configuration file; None if there is no home directory."""
    try:
        return _home("XDG_CONFIG_HOME", ".config") / "plasm" / "plasm.toml"
    except ConfigError:
        return None


def private_directory(path: Path, *, above: bool = True) -> Path:
    """Create a directory that only its owner may enter, and return it.

    `above` False: do not check the directories above it, because its content is authenticated.

    Raises: OSError, also if it belongs to another user or another user could replace it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if above:
        check_directory(path)
    else:
        check_owner(path.stat(), path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def secret(path: Path) -> bytes:
    """Return the 32 random bytes of a private file; create the file if it is missing.

    Raises: OSError, also if it belongs to another user, who then knows the bytes.
    """
    private_directory(path.parent)
    try:
        value = _stored_secret(path)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another process created it first
            _store_secret(path, os.link)
        value = _stored_secret(path)
    if len(value) == _SECRET_BYTES:
        return value
    # Earlier releases left a short file if the disk was full. Without a whole file each process has bytes of its own.
    if len(value) < _SECRET_BYTES:
        with contextlib.suppress(OSError):
            _store_secret(path, os.replace)
            value = _stored_secret(path)
    return value if len(value) == _SECRET_BYTES else secrets.token_bytes(_SECRET_BYTES)


def _stored_secret(path: Path) -> bytes:
    with open_regular(path) as file:
        check_file(os.fstat(file.fileno()), path)
        return file.read(_SECRET_BYTES + 1)


def _store_secret(path: Path, put: Callable[[Path, Path], None]) -> None:
    """Write random bytes to a temporary file, and `put` it at the path when all of them are on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
            file.flush()
            os.fsync(fd)
        put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def owners_key() -> Path:
    """Return the path of the key for the names of clients. It is kept, so that shares survive a restart."""
    return state_directory() / "owners.key"


def networks_key() -> Path:
    """Return the path of the key for the names that clients give to nodes' networks in the reputation store."""
    return state_directory() / "reputation" / "networks.key"


def default_key_file() -> Path:
    """Return the path of the signing key that `plasm run` and `plasmd` of one user share."""
    return state_directory() / "node.key"


SOCKET_NAME = "plasmd.sock"
SYSTEM_DIRECTORY = Path("/run/plasm")
"""Where the packaged daemon listens, and root's where the session has no runtime directory."""


def directories(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the directories in which daemons that this user may use have their sockets, the likeliest first.

    `su -` and cron set no `XDG_RUNTIME_DIR`: a daemon started there listens in `fallback_directory`, and a client
    started there finds the daemon of this user's login session in /run/user.
    """
    user = os.geteuid()
    session = environ.get("XDG_RUNTIME_DIR")
    found = [Path(session) / "plasm"] if session else []
    if user != 0:
        of_login, private = Path(f"/run/user/{user}"), fallback_directory()
        found += [of_login / "plasm"] if _is_own(of_login, user) else []
        found += [private] if _is_own(private, user, missing=True) else []
    return list(dict.fromkeys([*found, SYSTEM_DIRECTORY]))


def fallback_directory() -> Path:
    """Return where a daemon listens that has no runtime directory: /run/plasm for root, else one in /tmp.

    The directory's name holds the user's id, so that clients find it without any variable and independently of `TMPDIR`.
    """
    user = os.geteuid()
    return Path(f"/tmp/plasm-{user}") if user != 0 else SYSTEM_DIRECTORY


def _is_own(path: Path, user: int, *, missing: bool = False) -> bool:
    """Return whether a directory belongs to a user and no other user may change its contents.

    `missing`: the answer for a missing directory.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return missing
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o022


def own_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the socket on which a daemon listens by default.

    That is `PLASM_SOCKET`; else plasmd.sock in `RUNTIME_DIRECTORY` (systemd's), in the plasm folder of
    `XDG_RUNTIME_DIR`, or in `fallback_directory`.
    """
    if environ.get("PLASM_SOCKET"):
        return Path(environ["PLASM_SOCKET"])
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    session = environ.get("XDG_RUNTIME_DIR")
    directory = Path(given) if given else Path(session) / "plasm" if session else fallback_directory()
    return directory / SOCKET_NAME


def places(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where a client looks for sockets, the likeliest first: the configured socket, or directories."""
    named = environ.get("PLASM_SOCKET")
    return [Path(named)] if named else directories(environ)


def sockets(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where daemons may be listening, the likeliest first (docs/protocol.md, "Carriers")."""
    if environ.get("PLASM_SOCKET"):
        return places(environ)
    found = []
    for place in directories(environ):
        try:
            names = sorted(path for path in place.iterdir() if path.suffix == ".sock")
        except OSError:
            continue
        found += sorted(names, key=lambda path: path.name != SOCKET_NAME)
    return found
