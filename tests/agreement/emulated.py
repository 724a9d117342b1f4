"""Run the vectors on an emulated aarch64: `python -m tests.agreement.emulated`. It takes minutes, so no test does.

It fetches Debian's Python and qemu-user and the wheel of wasmtime for that machine, unpacks them beside each other
(nothing is installed), and has `bare_child` run every vector there: validated, metered, compiled and run on the
emulated machine, without a sandbox, whose system calls qemu does not know. The exit code is 1 if anything differs, 77
if it cannot be had here.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.agreement.bare import FIELDS, BareChild
from tests.agreement.vectors import document

_SOURCES = """\
Types: deb
URIs: {0}
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_APT = """\
Dir::Etc "{0}/etc";
Dir::Etc::sourcelist "/dev/null";
Dir::State "{0}/state";
Dir::State::status "{0}/state/status";
Dir::Cache "{0}/cache";
APT::Architecture "amd64";
APT::Architectures {{"amd64"; "arm64";}};
APT::Sandbox::User "root";
"""
_PACKAGES = ("python3.11-minimal:arm64", "libpython3.11-stdlib:arm64")
_LIBRARIES = ("attrs", "cattrs", "pluggy")
_TAG, _PYTHON = "manylinux2014_aarch64", "3.11"
_STACK_BYTES = 160 << 20
_DEADLINE_S = 900
"""For one vector, on a machine that has other things to do as well."""


class _Missing(Exception):
    """Why it cannot be had here."""


def _run(*command: str, **environment: str) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
        )
    except FileNotFoundError as exc:
        raise _Missing(f"there is no {command[0]} here") from exc
    except subprocess.CalledProcessError as exc:
        raise _Missing(f"{' '.join(command[:3])}: {exc.stderr.strip()[-500:]}") from exc
    return done.stdout


def _archive() -> str:
    """Return the address of the archive that this system's apt reads Debian's packages from. Raises: `_Missing`."""
    known = ("Created-By: Packages", "Origin: Debian", "Label: Debian")
    found = _run("apt-get", "indextargets", "--format", "$(SITE)", *known).split()
    if not found:
        raise _Missing(
            "apt of this system knows no archive of Debian: run apt-get update, or name one by --archive"
        )
    return found[0]


def _unpack_debian(directory: Path, archive: str) -> None:
    """Unpack Python for arm64 into `root`, and qemu for this machine into `qemu`."""
    for part in ("etc/sources.list.d", "etc/apt.conf.d", "etc/preferences.d", "state/lists/partial"):
        (directory / part).mkdir(parents=True)
    for part in ("cache/archives/partial", "packages"):
        (directory / part).mkdir(parents=True)
    (directory / "state/status").touch()
    (directory / "etc/sources.list.d/debian.sources").write_text(_SOURCES.format(archive))
    (directory / "apt.conf").write_text(_APT.format(directory))
    apt = {"APT_CONFIG": str(directory / "apt.conf")}
    _run("apt-get", "update", **apt)
    plan = _run("apt-get", "-s", "install", "--no-install-recommends", *_PACKAGES, **apt)
    wanted = [
        line.split()[1]
        for line in plan.splitlines()
        if line.startswith("Inst ") and ("[all])" in line or ":arm64 " in line)
    ]
    packages = directory / "packages"
    script = 'cd "$0" && apt-get download -q "$@"'
    _run("sh", "-c", script, str(packages), *wanted, "qemu-user-static:amd64", **apt)
    for package in packages.iterdir():
        target = "qemu" if package.name.startswith("qemu-user") else "root"
        _run("dpkg", "-x", str(package), str(directory / target))


def prepare(directory: Path, archive: str | None = None) -> None:
    """Fetch and unpack all that is needed, unless it is there. Raises: `_Missing`."""
    if not (directory / "qemu").is_dir():
        _unpack_debian(directory, archive or _archive())
    if not (directory / "site").is_dir():
        version = importlib.metadata.version("wasmtime")
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        where = ["--target", str(directory / "site"), "--platform", _TAG, "--python-version", _PYTHON]
        _run(*install, *where, "--only-binary=:all:", f"wasmtime=={version}", *_LIBRARIES)


def emulator(directory: Path) -> list[str]:
    """Return the command line that runs the emulated Python."""
    root = directory / "root"
    qemu = directory / "qemu/usr/bin/qemu-aarch64-static"
    return [str(qemu), "-L", str(root), "-s", str(_STACK_BYTES), str(root / f"usr/bin/python{_PYTHON}"), "-S"]


def compare(directory: Path, names: Sequence[str], target: str) -> int:
    """Run the vectors there, all if none are named. Return how many came to something else."""
    python = emulator(directory)
    machine = _run(*python, "-c", "import os, sys; print(os.uname().machine, sys.version.split()[0])").strip()
    cases = [case for case in document()["cases"] if not names or case["name"] in names]
    version = importlib.metadata.version("wasmtime")
    sys.stdout.write(f"emulated {machine}, wasmtime {version}, target {target}, {len(cases)} vectors\n")
    differing, started = 0, time.monotonic()
    with BareChild(python, [str(directory / "site")], target=target, deadline_s=_DEADLINE_S) as child:
        for case in cases:
            answer = child.observe(case)
            if answer != {field: case[field] for field in FIELDS}:
                differing += 1
                sys.stdout.write(f"differs: {case['name']}: {answer}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{len(cases) - differing} agree, {differing} differ\n")
    sys.stderr.write(f"{time.monotonic() - started:.0f} s\n")
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these vectors")
    parser.add_argument("--target", choices=["native", "pulley64"], default="native")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep what was fetched, or use it again"
    )
    parser.add_argument(
        "--archive", metavar="URL", help="an archive of Debian; the default is that of this system's apt"
    )
    options = parser.parse_args()
    directory = (options.keep or Path(tempfile.mkdtemp(prefix="plasm-emulated-"))).resolve()
    try:
        prepare(directory, options.archive)
        return 1 if compare(directory, options.names, options.target) else 0
    except _Missing as exc:
        sys.stderr.write(f"cannot emulate it here: {exc}\n")
        return 77
    finally:
        if options.keep is None:
            shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
