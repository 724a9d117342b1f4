"""Small and read-only file systems, mounted for a test."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no mount(8) here")
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"cannot mount a file system: {exc.stderr.decode().strip()}")


@contextlib.contextmanager
def _mounted(path: Path, *arguments: str) -> Iterator[Path]:
    path.mkdir(parents=True, exist_ok=True)
    _mount(*arguments, str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[Path]:
    """Make a directory read-only for everyone, root too."""
    with _mounted(path, "--bind", str(path)):
        _mount("-o", "remount,bind,ro", str(path))
        yield path


@attrs.frozen
class SmallDisk:
    """A file system of a few MiB."""

    path: Path

    @property
    def state(self) -> Path:
        """A state directory on it."""
        return self.path / "state"

    @property
    def free_bytes(self) -> int:
        """What is left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        """Leave no room for anything: another program's files."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def clear(self) -> None:
        """Give the room back."""
        (self.path / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a file system in memory."""
    with _mounted(path, "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs"):
        yield SmallDisk(path)
