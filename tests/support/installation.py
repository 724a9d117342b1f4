"""Install distributions with pip into an environment of their own, offline.

What they depend on is linked from the environment that runs the tests; what is under test is built and installed.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.cli import Plasm

_WAIT_S = 300


@attrs.frozen
class Installation(Plasm):
    """A virtual environment, whose `plasm` is the command."""

    directory: Path

    def command(self, *arguments: str) -> list[str]:
        return [str(self.bin("plasm")), *arguments]

    def bin(self, name: str) -> Path:
        """Return where an installed command is, if it is one."""
        return self.directory / "bin" / name

    def python(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run its Python to the end."""
        return subprocess.run(
            [str(self.bin("python")), *arguments],
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=_WAIT_S,
            cwd=cwd,
        )


def wheels(directory: Path, *projects: Path) -> Path:
    """Build wheels. A project is built from a copy if building would leave files in it."""
    for project in projects:
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), str(project))
    return directory


def install(directory: Path, found: Path, *names: str, linked: Iterable[str]) -> Installation:
    """Make an environment and install distributions by name out of a directory of wheels.

    `linked` are installed requirements that are linked, with what they need; of those that are installed by
    name here, only what they need.
    """
    made = Installation(directory / "home", directory / "venv")
    venv.create(made.directory, with_pip=False, symlinks=True)
    (site,) = made.directory.glob("lib/python*/site-packages")
    _link(site, linked, without={canonicalize_name("phase-plasm")})
    _pip("--python", str(made.bin("python")), "install", "--no-index", "--find-links", str(found), *names)
    return made


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _link(site: Path, requirements: Iterable[str], *, without: set[str]) -> None:
    for name in _needed(requirements):
        if name in without:
            continue
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            link = site / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


def _needed(requirements: Iterable[str]) -> set[str]:
    """Return the names of distributions that requirements bring along, their own included."""
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(item) for item in requirements]
    while todo:
        item = todo.pop()
        name = canonicalize_name(item.name)
        for extra in ("", *item.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            needed = map(Requirement, importlib.metadata.requires(name) or ())
            todo += [of for of in needed if of.marker is None or of.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def copied(project: Path, directory: Path) -> Path:
    """Copy a project, for tools that write into it."""
    return Path(shutil.copytree(project, directory / project.name))
