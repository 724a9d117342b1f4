"""Hold what users are told to type where no daemon runs: it must work on their machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plasm_core.start_hint import start_hint

BY_HAND = "start one with: plasmd --detach"


def system(root: Path, *, unit: str = "", is_booted: bool = True) -> Path:
    """Make what is looked at of a system."""
    if is_booted:
        (root / "run/systemd/system").mkdir(parents=True)
    if unit:
        (root / unit).parent.mkdir(parents=True, exist_ok=True)
        (root / unit).touch()
    return root


@pytest.mark.parametrize("directory", ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"])
def test_a_machine_with_the_package_starts_its_unit(
    tmp_path: Path, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plasmd --detach` would start a second daemon, with another key and no users but its own."""
    root = system(tmp_path, unit=f"{directory}/plasmd.service")

    for user, command in ((0, "systemctl start plasmd"), (1000, "sudo systemctl start plasmd")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert start_hint({}, root=root) == f"start it with: {command}"


def test_a_container_with_the_package_but_without_systemd_starts_it_by_hand(tmp_path: Path) -> None:
    root = system(tmp_path, unit="usr/lib/systemd/system/plasmd.service", is_booted=False)

    assert start_hint({}, root=root) == BY_HAND


def test_a_machine_without_the_package_starts_it_by_hand(tmp_path: Path) -> None:
    assert start_hint({}, root=system(tmp_path)) == BY_HAND


def test_a_socket_elsewhere_is_not_the_units(tmp_path: Path) -> None:
    root = system(tmp_path, unit="lib/systemd/system/plasmd.service")

    assert start_hint({"PLASM_SOCKET": "/home/me/plasmd.sock"}, root=root) == BY_HAND
