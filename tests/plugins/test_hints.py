"""The hint for a plugin that is not there lists what can be used."""

from __future__ import annotations

import importlib.util

import pytest

from plasm_core.errors import PluginMissingError
from plasm_core.plugins import loading


def hint() -> str:
    with pytest.raises(PluginMissingError) as caught:
        loading.load("runtime", "wasmtim")
    return str(caught.value.hint)


def test_a_plugin_without_its_library_is_not_listed_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_wasm3(name: str, package: str | None = None) -> object:
        return None if name == "wasm3" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_wasm3)

    assert "wasmtime" in hint()
    assert "wasm3" not in hint()


def test_the_name_that_may_be_meant_is_given() -> None:
    assert hint().endswith(", did you mean wasmtime?")
