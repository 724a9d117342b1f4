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


def test_a_private_directory_is_accessible_only_to_its_owner(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)

    for path in (open_to_all, tmp_path / "a" / "b"):
        assert paths.private_directory(path) == path
        assert path.stat().st_mode & 0o777 == 0o700


def test_sockets_are_in_the_runtime_directory_of_the_session(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}

    assert paths.own_socket(environ) == tmp_path / "plasm" / "plasmd.sock"
    assert paths.directories(environ)[0] == tmp_path / "plasm"
    assert paths.own_socket({**environ, "PLASM_SOCKET": "/named.sock"}) == Path("/named.sock")
    assert paths.own_socket({**environ, "RUNTIME_DIRECTORY": "/run/x:/run/y"}) == Path("/run/x/plasmd.sock")


def test_without_a_session_an_ordinary_user_has_a_directory_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `su -`, or in cron: /run/plasm is root's."""
    monkeypatch.setattr("plasm_core.paths.os.geteuid", lambda: 4_000_000_123)

    assert paths.own_socket({}) == Path("/tmp/plasm-4000000123/plasmd.sock")
    assert paths.directories({}) == [Path("/tmp/plasm-4000000123"), Path("/run/plasm")]
    session = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert paths.directories(session) == [
        tmp_path / "plasm",
        Path("/tmp/plasm-4000000123"),
        Path("/run/plasm"),
    ]


def test_without_a_session_root_has_the_systems_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plasm_core.paths.os.geteuid", lambda: 0)

    assert paths.own_socket({}) == Path("/run/plasm/plasmd.sock")
    assert paths.directories({}) == [Path("/run/plasm")]


@pytest.mark.parametrize("what", ["link", "open", "file"])
def test_a_private_directory_that_others_can_change_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Names in /tmp can be taken by anybody."""
    private = tmp_path / "plasm-7"
    if what == "link":
        private.symlink_to(tmp_path)
    elif what == "open":
        private.mkdir()
        private.chmod(0o777)
    else:
        private.touch()
    monkeypatch.setattr("plasm_core.paths.fallback_directory", lambda: private)
    monkeypatch.setattr("plasm_core.paths.os.geteuid", lambda: tmp_path.stat().st_uid or 7)

    assert private not in paths.directories({})
