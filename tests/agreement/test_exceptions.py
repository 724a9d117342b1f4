"""Exceptions and tail calls come to what tests/vectors/exceptions.json says, on every engine that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.errors import RefusedError
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.plugins.engine import PAGE_BYTES
from plasm_core.records import JobInput, Limits, Manifest, manifest_for
from plasm_core.records.manifest import PROFILE, PROFILE_V2
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import configuration
from tests.sandbox.modules import wat
from tests.vectors.generate_exceptions import document

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "exceptions.json").read_text(encoding="utf-8")
)
MODULE = bytes.fromhex(VECTORS["module_hex"])
TAIL_CALL = wat('(module … (func (export "other") return_call 0))')
LIMITS = Limits(gas=10**9, memory_bytes=PAGE_BYTES, output_bytes=VECTORS["output_bytes"])


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


def run(
    node: LocalNode, engine: str, manifest: Manifest, module: bytes = MODULE
) -> tuple[dict[str, Any], int]:
    """Return outcome and gas of a job."""
    done = execute(*(node, manifest, lambda: module, JobInput(), PassedOn()), runtime=engine).run
    return {
        name: value for name, value in attrs.asdict(done.outcome).items() if value is not None
    }, done.gas_used


@pytest.mark.parametrize("engine", ["wasmtime", "v8"])
def test_exceptions_and_tail_calls_end_as_the_vectors_say(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)

    found = []
    for item in VECTORS["runs"]:
        limits = attrs.evolve(LIMITS, gas=item["gas"])
        found.append(run(node, engine, manifest_for(MODULE, JobInput(), limits=limits, entry=item["entry"])))

    assert found == [(item["outcome"], item["gas_used"]) for item in VECTORS["runs"]]


def test_the_vectors_are_those_of_their_generator() -> None:
    assert document() == VECTORS


@pytest.mark.parametrize("engine", ["wasm3", "wasmer"])
def test_an_engine_without_them_refuses_by_name(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)

    with pytest.raises(RefusedError, match=r"uses .*exceptions, .*tail-calls$") as caught:
        run(node, engine, manifest_for(MODULE, JobInput(), limits=LIMITS, entry="caught"))

    assert caught.value.reason == "unsupported_feature"


def test_the_first_profile_has_no_tail_calls(node: LocalNode) -> None:
    with pytest.raises(RefusedError, match=f"{PROFILE} has no tail calls") as caught:
        run(node, "wasmtime", manifest_for(TAIL_CALL, JobInput(), limits=LIMITS), TAIL_CALL)

    assert caught.value.reason == "profile"
    assert caught.value.hint is not None
    assert f"--profile {PROFILE_V2}" in caught.value.hint
    assert "-mno-tail-call" in caught.value.hint


def test_the_second_profile_has_tail_calls_without_files_or_an_entry(node: LocalNode) -> None:
    manifest = manifest_for(TAIL_CALL, JobInput(), limits=LIMITS, profile=PROFILE_V2)

    assert run(node, "wasmtime", manifest, TAIL_CALL)[0] == {"kind": "exited", "code": 0}


def test_what_was_admitted_for_the_second_profile_is_refused_under_the_first(node: LocalNode) -> None:
    """The compiled module is in the cache by then, and perhaps in memory."""
    second = manifest_for(TAIL_CALL, JobInput(), limits=LIMITS, profile=PROFILE_V2)
    first = manifest_for(TAIL_CALL, JobInput(), limits=LIMITS)
    run(node, "wasmtime", second, TAIL_CALL)

    with pytest.raises(RefusedError, match="has no tail calls"):
        run(node, "wasmtime", first, TAIL_CALL)
