"""Jobs with an entry come to what tests/vectors/files.json says, on every engine."""

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
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.output import OutputStream
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "files.json").read_text(encoding="utf-8")
)
MODULE = bytes.fromhex(VECTORS["entry_module_hex"])


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


def run(node: LocalNode, engine: str, entry: str, gas: int) -> tuple[dict[str, Any], int, str]:
    """Return outcome, gas and stdout of a job that calls an export of the module."""
    limits = Limits(gas=gas, memory_bytes=1 << 20, output_bytes=1 << 20)
    manifest = manifest_for(MODULE, JobInput(), limits=limits, entry=entry)
    stdout = bytearray()

    def take(stream: OutputStream, data: bytes) -> None:
        assert stream is OutputStream.STDOUT
        stdout.extend(data)

    done = execute(*(node, manifest, lambda: MODULE, JobInput(), PassedOn(take)), runtime=engine).run
    outcome = {name: value for name, value in attrs.asdict(done.outcome).items() if value is not None}
    return outcome, done.gas_used, stdout.hex()


@pytest.mark.parametrize("engine", ENGINES)
def test_entries_end_as_the_vectors_say(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    found = [run(node, engine, item["entry"], item["gas"]) for item in VECTORS["entry_runs"]]

    assert found == [
        (item["outcome"], item["gas_used"], item["stdout_hex"]) for item in VECTORS["entry_runs"]
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [("none", "no_entry"), ("memory", "no_entry"), ("takes", "entry_type"), ("wide", "entry_type")],
)
def test_what_is_no_entry_is_refused(node: LocalNode, entry: str, reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        run(node, "wasmtime", entry, 1_000)

    assert caught.value.reason == reason
