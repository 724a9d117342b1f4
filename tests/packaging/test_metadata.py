"""Hold the wheel to what it promises: every plugin is in it, nothing else is, and its metadata is whole."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import plasm_core
from tests.support.installation import wheels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of this tree."""
    (path,) = wheels(tmp_path_factory.mktemp("wheel"), ROOT).glob("phase_plasm-*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (item for item in wheel.namelist() if item.endswith(".dist-info/METADATA"))
    return BytesParser().parsebytes(wheel.read(name))


def test_the_wheel_holds_the_core_and_every_plugin_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    plugins = {path.name for path in ROOT.glob("plugins/*/plasm_*") if path.is_dir()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"plasm_core", *plugins}
    assert "plasm_core/py.typed" in wheel.namelist()
    assert "plasm_core/daemon/store/schema.sql" in wheel.namelist()
    assert not [name for name in wheel.namelist() if "__pycache__" in name]


def test_every_entry_point_names_a_module_of_the_wheel(wheel: zipfile.ZipFile) -> None:
    (name,) = (item for item in wheel.namelist() if item.endswith(".dist-info/entry_points.txt"))
    lines = wheel.read(name).decode().splitlines()
    modules = [line.partition("=")[2].strip().partition(":")[0] for line in lines if "=" in line]

    assert modules
    for module in modules:
        path = module.replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & set(wheel.namelist()), module


def test_the_metadata_says_what_an_index_shows(wheel: zipfile.ZipFile) -> None:
    found = metadata(wheel)

    assert found["Name"] == "phase-plasm"
    assert found["Version"] == plasm_core.__version__
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.10"
    assert found["Description-Content-Type"] == "text/markdown"
    extras = set(found.get_all("Provides-Extra", []))
    assert {"wasm3", "libp2p", "wasmer", "engine-v8"} <= extras
    # pip for Python 3.10 compares an extra that reads as a version, such as v8, with the empty one, and fails.
    assert [name for name in extras if re.fullmatch(r"v?\d.*", name)] == []


def test_the_licence_comes_along(wheel: zipfile.ZipFile) -> None:
    inside = {name.rpartition("/")[2] for name in wheel.namelist() if ".dist-info/licenses/" in name}

    assert {"LICENSE", "NOTICE"} <= inside
