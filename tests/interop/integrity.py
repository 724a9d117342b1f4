"""Hold installed JavaScript packages against the digests of a lock file: `integrity.py DIRECTORY [LOCK]`.

npm compares what it downloads with what the lock file says, and takes what the file does not name as it comes. The
file names no host, so that any registry serves; after a change of package.json, make it again:

    npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts

and take "funding" and "deprecated" out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def packages(path: Path) -> dict[str, tuple[str, str]]:
    """Return version and digest of each package of a lock file, by its place."""
    found: dict[str, Any] = json.loads(path.read_text())["packages"]
    return {
        place: (str(package.get("version")), str(package.get("integrity")))
        for place, package in found.items()
        if place
    }


_LOCK = Path(__file__).with_name("package-lock.json")


def differences(directory: Path, lock: Path = _LOCK) -> list[str]:
    """Return what is installed below a directory and is not what a lock file says."""
    named = packages(lock)
    there = packages(directory / "node_modules" / ".package-lock.json")
    wrong = [place for place, found in sorted(there.items()) if named.get(place) != found]
    return [f"{place}: {' '.join(there[place])} is not what package-lock.json says" for place in wrong]


if __name__ == "__main__":
    problems = differences(*map(Path, sys.argv[1:3]))
    sys.exit("\n".join(problems) if problems else 0)
