"""Jobs with files come to what tests/vectors/file_runs.json says, on every engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from plasm_core.local_node import LocalNode
from plasm_core.records import sha256
from plasm_core.testing.bench import module_named
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration
from tests.vectors.generate_file_runs import FILE, expected, perform

VECTORS: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


@pytest.mark.parametrize("engine", ENGINES)
def test_every_run_ends_as_the_vector_says(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)

    found = {item["name"]: expected(perform(node, engine, item)) for item in VECTORS["runs"]}

    assert found == {item["name"]: item["expected"] for item in VECTORS["runs"]}


def test_the_modules_are_those_of_the_vectors() -> None:
    assert {name: sha256(module_named(name)) for name in VECTORS["modules"]} == VECTORS["modules"]
