"""Every engine comes to the same on every task of the corpus, or refuses the module by a feature's name."""

from __future__ import annotations

import re

import pytest

from plasm_core.errors import RefusedError
from plasm_core.records.digest import sha256
from plasm_core.records.manifest import GAS_SCHEDULE, PROFILE
from tests.agreement.conftest import Runs, skip_if_missing
from tests.agreement.engines import ENGINES, WINCH
from tests.agreement.vectors import Vector, document, module_code, vectors

REFUSED = {
    "wasmtime": {},
    "wasm3": {
        "wat/bulk_memory.wasm": "bulk-table",
        "wat/bulk_traps.wasm": "bulk-table",
        "wat/larger_frame.wasm": "large-frames",
        "wat/larger_memory.wasm": "large-memory",
        "wat/larger_name.wasm": "large-module",
        "wat/larger_table.wasm": "large-module",
        "wat/numeric_simd.wasm": "simd",
        "wat/reference_traps.wasm": "bulk-table, reference-types",
        "wat/reference_types.wasm": "bulk-table, reference-types",
        "wat/spills_simd.wasm": "simd",
        "wat/wider_type.wasm": "wide-types",
    },
    "wasmer": {
        "wat/extended_constants.wasm": "extended-const",
        "wat/numeric_simd.wasm": "simd",
        "wat/reference_traps.wasm": "reference-types",
        "wat/reference_types.wasm": "reference-types",
        "wat/spills_simd.wasm": "simd",
        "wat/wider_type.wasm": "wide-types",
    },
    "v8": {},
    WINCH: {
        "wat/reference_traps.wasm": "reference-types",
        "wat/reference_types.wasm": "reference-types",
    },
}
"""Exactly the modules that each engine refuses, with the features that it lacks."""


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.task.name)
@pytest.mark.parametrize("engine", [*ENGINES, WINCH])
def test_every_engine_comes_to_what_the_vector_says_or_refuses_by_name(
    runs: Runs, engine: str, vector: Vector
) -> None:
    skip_if_missing(engine)
    ended = runs[engine, vector.task.name]
    lacking = REFUSED[engine].get(vector.task.module)
    if lacking is None:
        assert ended.result() == vector.expected
        return

    with pytest.raises(RefusedError, match=rf"uses {re.escape(lacking)}$") as caught:
        ended.result()

    assert caught.value.reason == "unsupported_feature"


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.task.name)
def test_a_task_is_the_one_that_the_vector_names(vector: Vector) -> None:
    """The digests make sure that another implementation is given the very same task."""
    module = document()["modules"][vector.task.module]

    assert module["sha256"] == sha256(module_code(vector.task.module))
    assert vector.task_digest == vector.task.manifest().task_digest


def test_the_vectors_are_of_the_present_profile() -> None:
    assert (document()["profile"], document()["gas_schedule"]) == (PROFILE, GAS_SCHEDULE)


def test_what_an_engine_refuses_is_in_the_corpus() -> None:
    for refused in REFUSED.values():
        assert refused.keys() <= document()["modules"].keys()
