"""Hold where things live: systemd's directories, else XDG's, else the usual ones."""

from pathlib import Path

import pytest

from plasm_core import paths


@pytest.mark.usefixtures("homes")
def test_state_cache_and_configuration_live_in_their_xdg_homes(homes: Path) -> None:
    assert paths.state_directory() == homes / "state" / "plasm"
    assert paths.cache_directory() == homes / "cache" / "plasm"
    assert paths.config_file() == homes / "config" / "plasm" / "plasm.toml"
    assert paths.default_key_file() == homes / "state" / "plasm" / "node.key"


def test_systemds_directories_come_first(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{homes}/one:{homes}/two")
    monkeypatch.setenv("CACHE_DIRECTORY", f"{homes}/three")

    assert paths.state_directory() == homes / "one"
    assert paths.cache_directory() == homes / "three"


@pytest.mark.parametrize("value", ["", "relative/state"])
def test_without_a_whole_path_the_usual_one_is_taken(
    homes: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The XDG Base Directory Specification has relative paths ignored."""
    monkeypatch.setenv("HOME", str(homes))
    monkeypatch.setenv("XDG_STATE_HOME", value)

    assert paths.state_directory() == homes / ".local" / "state" / "plasm"


def test_a_private_directory_is_its_owners_alone(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)

    for path in (open_to_all, tmp_path / "a" / "b"):
        assert paths.private_directory(path) == path
        assert path.stat().st_mode & 0o777 == 0o700
