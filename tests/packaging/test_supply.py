"""What builds and tests this project is known by its content: actions by commit, packages by digest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
INTEROP = ROOT / "tests" / "interop"
JAVASCRIPT = (INTEROP, ROOT / "sdk" / "typescript")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_name_actions_by_commit_and_say_which_version_it_is(path: Path) -> None:
    used = re.findall(r"uses:\s*(.*)$", path.read_text(), re.MULTILINE)

    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+)+", action), action


def test_an_action_has_one_commit_everywhere() -> None:
    used = set(re.findall(r"uses:\s*(\S+)", "\n".join(path.read_text() for path in WORKFLOWS)))

    assert len({action.partition("@")[0] for action in used}) == len(used)


def test_build_tools_have_digests() -> None:
    lines = (ROOT / "script" / "build-tools.txt").read_text().splitlines()
    requirements = [line for line in lines if not line.startswith("#")]

    assert {"pip", "hatchling"} <= {line.partition("==")[0] for line in requirements}
    for line in requirements:
        assert re.fullmatch(r'[a-z-]+==[\w.]+(; python_version < "3\.\d+")? --hash=sha256:[0-9a-f]{64}', line)


@pytest.mark.parametrize("place", JAVASCRIPT, ids=lambda place: place.name)
def test_javascript_packages_have_digests_and_no_host(place: Path) -> None:
    text = (place / "package-lock.json").read_text()
    lock = json.loads(text)
    described = json.loads((place / "package.json").read_text())
    named = described.get("dependencies", {}) | described.get("devDependencies", {})
    root = lock["packages"][""]

    assert "://" not in text
    assert root.get("dependencies", {}) | root.get("devDependencies", {}) == named
    assert len(lock["packages"]) > len(named)
    for folder, package in lock["packages"].items():
        assert not folder or re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"]), folder


@pytest.mark.parametrize(
    "change", [{"integrity": "sha512-x"}, {"version": "0.0.1"}, None], ids=["content", "version", "unknown"]
)
def test_a_package_other_than_the_locked_one_is_reported(
    tmp_path: Path, change: dict[str, str] | None
) -> None:
    lock = json.loads((INTEROP / "package-lock.json").read_text())
    (tmp_path / "node_modules").mkdir()
    there = tmp_path / "node_modules" / ".package-lock.json"
    check = [sys.executable, str(INTEROP / "integrity.py"), str(tmp_path)]
    there.write_text(json.dumps(lock))
    assert subprocess.run(check, capture_output=True).returncode == 0

    if change is None:
        lock["packages"]["node_modules/stranger"] = {"version": "1.0.0", "integrity": "sha512-x"}
    else:
        lock["packages"]["node_modules/libp2p"].update(change)
    there.write_text(json.dumps(lock))
    done = subprocess.run(check, capture_output=True, text=True)

    assert done.returncode == 1
    assert "is not what package-lock.json says" in done.stderr


@pytest.mark.skipif(
    not (Path(sys.prefix) / "interop" / "package-lock.installed").is_file(),
    reason="script/test has installed no JavaScript libp2p",
)
def test_what_is_installed_here_is_what_the_lock_file_says() -> None:
    check = [sys.executable, str(INTEROP / "integrity.py"), str(Path(sys.prefix) / "interop")]

    assert subprocess.run(check, capture_output=True).returncode == 0
