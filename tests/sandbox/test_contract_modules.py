"""The modules of the contract suite are what their text says."""

from __future__ import annotations

import pytest

from plasm_core.testing.bench import MODULES, module_named
from plasm_core.testing.script import FUNCTIONS
from tests.sandbox.modules import described, wat

NAMES = sorted(path.stem for path in MODULES.glob("*.wat"))


def test_each_module_has_a_text_and_each_text_a_module() -> None:
    assert NAMES
    assert sorted(path.stem for path in MODULES.glob("*.wasm")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_its_text_compiled(name: str) -> None:
    """Compile it again with `wasmtime.wat2wasm` if it is not."""
    assert module_named(name) == wat((MODULES / f"{name}.wat").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_module_is_fit_to_be_run(name: str) -> None:
    info = described(module_named(name))

    if name not in (
        *("gas_bulk", "gas_bulk_trap", "gas_table", "nan", "nan_bits", "nan_simd"),
        *("exceptions", "trap_uncaught_exception", "trap_null_reference"),
    ):
        assert info.features == []


def test_a_script_names_functions_in_the_order_of_their_imports() -> None:
    imports = described(module_named("calls")).imports

    assert imports == [f"function wasi_snapshot_preview1.{name}" for name in FUNCTIONS]
