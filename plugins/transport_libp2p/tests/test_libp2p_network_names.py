"""Clients give each network one name, in all their processes: what they know of a network is kept under it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from plasm_core import paths
from plasm_transport_libp2p.transport import _groups

ONE, NEIGHBOUR, OTHER = ("192.0.2.1", 4001), ("192.0.2.9", 7), ("198.51.100.1", 4001)


def name(where: tuple[str, int]) -> str:
    groups = _groups(is_client=True)
    assert groups is not None
    return groups.of(where)


def test_a_network_has_one_name_for_all_clients_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    assert name(ONE) == name(NEIGHBOUR) != name(OTHER)
    assert stat.S_IMODE(paths.networks_key().stat().st_mode) == 0o600
    mine = name(ONE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert name(ONE) != mine, "no user can tell another's networks"


def test_without_a_place_for_the_key_the_names_hold_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))

    assert name(ONE) == name(NEIGHBOUR) != name(OTHER)
