"""Hold the files of the configuration: the drop-ins beside a file change it key by key, the last in order winning."""

from __future__ import annotations

from pathlib import Path

import pytest

from plasm_core import config
from plasm_core.config_files import MAX_DROP_INS, drop_ins
from plasm_core.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "plasmd.toml"
    file.write_text('[plasm]\nruntime = "wasm3"\n[policy]\nlend = false\n[transport.local]\nmode = "0660"\n')
    (tmp_path / "plasmd.d").mkdir()
    return file


def drop_in(file: Path, name: str, text: str) -> Path:
    path = file.with_suffix(".d") / name
    path.write_text(text)
    return path


def test_drop_ins_change_single_keys_and_the_last_one_applies(file: Path) -> None:
    drop_in(file, "20-late.toml", "[policy]\nlend = true\n")
    drop_in(file, "10-early.toml", '[policy]\nlend = false\n[transport.local]\ngroup = "jobs"\n')

    found = config.load(file=file, environ={})

    assert found.policy.lend
    assert found.plasm.runtime == "wasm3"
    assert found.table("transport", "local") == {"mode": "0660", "group": "jobs"}


def test_the_environment_overrides_drop_ins(file: Path) -> None:
    drop_in(file, "runtime.toml", '[plasm]\nruntime = "wasmer"\n')

    assert config.load(file=file, environ={"PLASM_RUNTIME": "wasmtime"}).plasm.runtime == "wasmtime"


def test_a_mistake_in_a_drop_in_is_shown_with_its_file_and_line(file: Path) -> None:
    wrong = drop_in(file, "wrong.toml", "\n[policy]\nlent = true\n")

    with pytest.raises(ConfigError) as caught:
        config.load(file=file, environ={})

    assert f"(in {wrong}:3)" in str(caught.value)


@pytest.mark.parametrize("name", [".hidden.toml", "editor.toml~", "notes.txt"])
def test_other_files_in_the_directory_are_not_read(file: Path, name: str) -> None:
    drop_in(file, name, "[[[")

    assert drop_ins(file) == []
    assert config.load(file=file, environ={}).plasm.runtime == "wasm3"


def test_too_many_drop_ins_are_refused(file: Path) -> None:
    for number in range(MAX_DROP_INS + 1):
        drop_in(file, f"{number}.toml", "")

    with pytest.raises(ConfigError, match="more than 64 files"):
        drop_ins(file)


def test_the_default_file_may_be_missing_where_there_are_drop_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "plasm" / "plasm.d").mkdir(parents=True)
    (tmp_path / "plasm" / "plasm.d" / "mine.toml").write_text('[plasm]\nruntime = "wasm3"\n')

    assert config.load(environ={}).plasm.runtime == "wasm3"
