"""What is remembered of installed distributions, and when it is read again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path

import pytest

from plasm_core import entry_points
from plasm_core.entry_points import EntryPoint

LONG_AGO = 1_000_000_000


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, with nothing read so far."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(entry_points, "_read", None)
    (tmp_path / "plasm").mkdir(mode=0o700)
    return tmp_path / "plasm"


@pytest.fixture
def site(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of distributions, alone on the search path, that has not changed for long."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    install(folder, "first")
    return folder


def install(folder: Path, name: str, *, at: int = LONG_AGO) -> None:
    """Install a distribution with one entry point, at a moment."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[plasm]\nverifier_{name} = {name}\n")
    os.utime(folder, (at, at))
    importlib.invalidate_caches()


def names() -> list[str]:
    """Return the names that are read."""
    return [point.name for point in entry_points.read()]


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be as a new process."""
    monkeypatch.setattr(entry_points, "_read", None)


def test_metadata_is_scanned_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = entry_points.read()
    monkeypatch.setattr(entry_points, "_scanned", lambda: pytest.fail("scanned again"))

    assert entry_points.read() is first
    forget(monkeypatch)
    assert entry_points.read() == first
    assert first == (EntryPoint(name="verifier_first", value="first", distribution="first", version="1"),)


def test_another_distribution_is_found_at_once(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names() == ["verifier_first"]

    install(site, "second", at=LONG_AGO + 1)

    assert sorted(names()) == ["verifier_first", "verifier_second"]
    forget(monkeypatch)
    assert sorted(names()) == ["verifier_first", "verifier_second"]


def test_a_folder_that_has_just_changed_is_read_each_time(state: Path, site: Path) -> None:
    """Its next change may come within one tick of the clock of files."""
    os.utime(site)

    assert names() == ["verifier_first"]
    assert not (state / "entry-points.json").exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"state": 1}', '{"points": [{}]}'])
def test_an_unreadable_stored_value_is_made_again(
    state: Path, site: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names()
    (state / "entry-points.json").write_text(damage)
    forget(monkeypatch)

    assert names() == ["verifier_first"]
    assert json.loads((state / "entry-points.json").read_text())["points"]


def test_a_file_that_others_may_write_is_not_believed(
    state: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names modules that are imported."""
    names()
    file = state / "entry-points.json"
    file.write_text(file.read_text().replace('"first"', '"evil"'))
    file.chmod(0o666)
    forget(monkeypatch)

    assert [point.value for point in entry_points.read()] == ["first"]


def test_without_a_state_directory_nothing_is_written(state: Path, site: Path) -> None:
    state.rmdir()

    assert names() == ["verifier_first"]
    assert not state.exists()
