"""How the user of this machine starts a daemon: by systemd where the package is installed, else by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from plasm_core import paths

UNIT = "plasmd.service"
_UNIT_DIRECTORIES = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")


def start_hint(environ: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> str:
    """Return the command that starts a daemon where this client looks for one.

    The package's unit serves only clients that look into /run/plasm, and only a machine that systemd has booted
    (sd_booted(3)): in a container with the package there is no systemd. `root`: the directory that holds the system.
    """
    if paths.SYSTEM_DIRECTORY in paths.places(environ) and is_unit_usable(root):
        return f"start it with: {'' if os.geteuid() == 0 else 'sudo '}systemctl start plasmd"
    return "start one with: plasmd --detach"


def is_unit_usable(root: Path = Path("/")) -> bool:
    """Return whether systemd runs and has the unit of the package."""
    return (root / "run/systemd/system").is_dir() and any(
        (root / directory / UNIT).exists() for directory in _UNIT_DIRECTORIES
    )
