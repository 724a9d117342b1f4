"""Capability records and keys, shared with the other languages' clients."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records import Manifest, PeerId
from plasm_core.signing import open_record
from tests.vectors.generate_capabilities import generate

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "capabilities.json").read_text())
PEER = PeerId.parse(VECTORS["peer"])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_vectors_are_what_the_generator_writes() -> None:
    assert generate() == VECTORS


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda case: str(case["name"]))
def test_a_record_is_believed_or_not(case: dict[str, Any]) -> None:
    problem = None
    try:
        record = open_record(case["envelope"].encode(), PEER, now=moment(case["now"]))
    except InvalidRecordError as exc:
        problem = str(exc)

    if case["problem"]:
        assert problem is not None
        assert case["problem"] in problem
    else:
        assert problem is None
        assert record.engines[0].features == ("simd", "f32-bits")


@pytest.mark.parametrize("case", VECTORS["needs"], ids=lambda case: str(case["lacks"]))
def test_a_requirement_that_a_node_lacks_is_reported(case: dict[str, Any]) -> None:
    record = open_record(case["envelope"].encode(), PEER, now=moment(VECTORS["records"][0]["now"]))
    manifest = Manifest.from_json(case["manifest"].encode())

    lacks = record.lacks(manifest, module_bytes=case["module_bytes"], stdin_bytes=case["stdin_bytes"])

    assert lacks == case["lacks"]


@pytest.mark.skipif(
    importlib.util.find_spec("libp2p") is None,
    reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'",
)
def test_the_keys_of_a_class() -> None:
    from plasm_transport_libp2p.kad.contact import SHARDS, capability_key

    computed = [capability_key(item["class"], item["shard"]).hex() for item in VECTORS["keys"]]

    assert VECTORS["shards"] == SHARDS
    assert computed == [item["key_hex"] for item in VECTORS["keys"]]
