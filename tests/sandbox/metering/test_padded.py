"""What linkers leave padded is written minimally: wasm3 needs that."""

from __future__ import annotations

import pytest

from plasm_core.sandbox.metering.rewrite import meter
from tests.sandbox.metering.padded import modules
from tests.sandbox.metering.test_native_body import WAYS

MINIMAL, PADDED = modules(padded=False), modules(padded=True)


@pytest.mark.parametrize("name", MINIMAL)
def test_padded_immediates_are_written_minimally(name: str) -> None:
    assert PADDED[name] != MINIMAL[name]

    assert [way for way in WAYS if meter(PADDED[name], **way).code != meter(MINIMAL[name], **way).code] == []


def test_the_modules_are_valid() -> None:
    validator = pytest.importorskip("plasm_runtime_wasmtime.validator").ModuleValidator()

    for made in (*MINIMAL.values(), *PADDED.values()):
        validator.validate(made)
        validator.validate(meter(made, canonical_nans=True, trap_checks=True).code)
