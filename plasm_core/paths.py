"""Where state, cache and configuration live (docs/operations.md)."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
from collections.abc import Mapping
from pathlib import Path

from plasm_core.errors import ConfigError
from plasm_core.ownership import check_directory, check_file, check_owner

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
    """Return the configuration file that is read when none is named; None if there is no home to look in."""
    try:
        return _home("XDG_CONFIG_HOME", ".config") / "plasm" / "plasm.toml"
    except ConfigError:
        return None


def private_directory(path: Path, *, above: bool = True) -> Path:
    """Make a directory that only its owner may enter, and return it.

    `above` False: what is in it is authenticated, so that the directories above it do not matter.

    Raises: OSError, also if it belongs to another user or could be replaced by one.
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
    """Return the 32 random bytes that a private file holds; make it when there is none.

    Raises: OSError, also if it belongs to another user, who then knows them.
    """
    private_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
    with path.open("rb") as file:
        check_file(os.fstat(file.fileno()), path)
        value = file.read(_SECRET_BYTES + 1)
    if len(value) != _SECRET_BYTES:  # another process is between creating and writing, or the disk was full
        value = secrets.token_bytes(_SECRET_BYTES)
    return value


def owners_key() -> Path:
    """Return where the key is that clients are named with, so that fairness survives a restart."""
    return state_directory() / "owners.key"


def default_key_file() -> Path:
    """Return where the key is that `plasm run` and `plasmd` of one user share."""
    return state_directory() / "node.key"


SOCKET_NAME = "plasmd.sock"


def places(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the sockets where a daemon listens by itself, the likeliest first."""
    if environ.get("PLASM_SOCKET"):
        return [Path(environ["PLASM_SOCKET"])]
    user = environ.get("XDG_RUNTIME_DIR")
    directories = [Path(user) / "plasm"] if user else []
    return [directory / SOCKET_NAME for directory in (*directories, Path("/run/plasm"))]


def own_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where a daemon listens, unless it is told.

    That is `PLASM_SOCKET`; else plasmd.sock in `RUNTIME_DIRECTORY` (systemd's), in the plasm folder of
    `XDG_RUNTIME_DIR`, or in /run/plasm.
    """
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if given and not environ.get("PLASM_SOCKET"):
        return Path(given) / SOCKET_NAME
    return places(environ)[0]


def sockets(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where daemons may be listening, the likeliest first (docs/protocol.md, "Carriers")."""
    if environ.get("PLASM_SOCKET"):
        return places(environ)
    found = []
    for place in places(environ):
        try:
            names = sorted(path for path in place.parent.iterdir() if path.suffix == ".sock")
        except OSError:
            continue
        found += sorted(names, key=lambda path: path.name != SOCKET_NAME)
    return found
