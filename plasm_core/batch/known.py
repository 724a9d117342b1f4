"""The batches of this user, for `plasm batch list`: those in the state directory, and links to those elsewhere."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import datetime, timezone
from pathlib import Path

from plasm_core import paths
from plasm_core.batch.folder import DATABASE
from plasm_core.errors import ConfigError

MOST_LINKS = 1000
"""Links beyond so many are deleted, the oldest first. The batches stay."""


def new_folder() -> Path:
    """Return the name of a new folder in the state directory. Raises: OSError, `ConfigError`."""
    return paths.private_directory(_directory()) / _new_name()


def remember(folder: Path) -> None:
    """Keep a link to a batch that is elsewhere. It is no error if there is no room for it."""
    with contextlib.suppress(OSError, ConfigError):
        directory, target = paths.private_directory(_directory()), folder.resolve()
        if target.parent == directory.resolve():
            return
        links = sorted(path for path in directory.iterdir() if path.is_symlink())
        for number, link in enumerate(links):
            if len(links) - number >= MOST_LINKS or _is_gone(link):
                link.unlink(missing_ok=True)
            elif os.path.realpath(link) == str(target):
                return
        (directory / _new_name()).symlink_to(target)


def known() -> list[Path]:
    """Return the folders of all batches that are there and can be read, the oldest first. Raises: OSError."""
    try:
        found = sorted(_directory().iterdir())
    except FileNotFoundError:
        return []
    there = (os.path.realpath(path) for path in found if os.path.isfile(path / DATABASE))
    return [Path(path) for path in dict.fromkeys(there)]


def _is_gone(link: Path) -> bool:
    """Return whether a link leads to nothing. A disk that is not there now may come back."""
    try:
        return not link.exists()
    except OSError:
        return False


def _directory() -> Path:
    return paths.state_directory() / "batches"


def _new_name() -> str:
    return datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f-") + secrets.token_hex(3)
