"""The fast reader of records and the converter that names problems accept the same values."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.protocol.messages import FROM_CLIENT, FROM_NODE
from plasm_core.records import JobInput, Manifest, manifest_for
from plasm_core.records.cattrs_converter import make_converter
from plasm_core.records.converter import encode_json, structure
from plasm_core.records.fields import constrained, integer
from plasm_core.records.record_reader import reader_of

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
SLOW = make_converter()
WRONG: tuple[object, ...] = (
    None,
    True,
    -1,
    1.0,
    1.5,
    2**60,
    "",
    "x",
    "12",
    [],
    ["x", "x"],
    {},
    {"x": 1},
    "2026-01-01T00:00:00Z",
)


def examples() -> Iterator[tuple[type, dict[str, Any]]]:
    """Yield the messages in the vectors, and a manifest, with their classes."""
    vectors = json.loads((VECTORS / "protocol.json").read_text())
    yield from _pairs(vectors)
    yield Manifest, json.loads(manifest_for(b"code", JobInput(args=(b"a",))).to_json())


def _pairs(value: Any) -> Iterator[tuple[type, dict[str, Any]]]:
    """Find everything in the vectors that looks like a message of either side."""
    if isinstance(value, dict):
        for known in (FROM_CLIENT, FROM_NODE):
            cls = known.get(value.get("type", "")) if isinstance(value.get("type", ""), str) else None
            if cls is not None:
                yield cls, value
        for item in value.values():
            yield from _pairs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item)


def _variants(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an object with each of its fields, and each field of the objects in it, missing or wrong."""
    yield {**value, "unheard_of": 1}
    for name, item in value.items():
        yield {key: found for key, found in value.items() if key != name}
        for wrong in WRONG:
            yield {**value, name: wrong}
        if isinstance(item, dict):
            for inner in _variants(item):
                yield {**value, name: inner}


def _slow(value: Any, cls: type) -> Any:
    try:
        return SLOW.structure(value, cls)
    except Exception:
        return None


def _fast(value: Any, cls: type) -> Any:
    read = reader_of(cls, SLOW.structure)
    assert read is not None
    try:
        return read(value)
    except Exception:
        return None


def test_reader_and_converter_agree_on_every_wrong_field() -> None:
    cases = list(examples())

    for cls, value in cases:
        for variant in (value, *_variants(value)):
            before = copy.deepcopy(variant)
            assert _fast(variant, cls) == _slow(variant, cls), (cls, variant)
            assert variant == before

    assert len(cases) > 20


def test_a_check_after_construction_is_not_left_out() -> None:
    """`__attrs_post_init__` ties fields together; the reader sets them without `__init__`."""
    manifest = json.loads(manifest_for(b"code", JobInput()).to_json())

    assert _fast(manifest, Manifest) == Manifest.from_json(json.dumps(manifest).encode())
    assert _fast({**manifest, "entry": "run"}, Manifest) is None


@attrs.frozen(kw_only=True)
class _Plain:
    """Fields without constraints, of the types that the reader reads itself."""

    yes: bool
    count: int
    share: float
    name: str
    names: list[str]
    maximum: int | None = None


PLAIN: dict[str, Any] = {
    "yes": True,
    "count": 1,
    "share": 0.5,
    "name": "n",
    "names": ["a", "b"],
    "maximum": 2,
}


def test_reader_and_converter_agree_on_fields_of_plain_types() -> None:
    def refused(_value: object, _kind: object) -> None:
        raise AssertionError("the reader reads these types itself")

    read = reader_of(_Plain, refused)

    assert read is not None
    assert read(PLAIN) == SLOW.structure(PLAIN, _Plain) == structure(PLAIN, _Plain, record="plain")
    for variant in _variants(PLAIN):
        try:
            expected = SLOW.structure(variant, _Plain)
        except Exception:
            with pytest.raises(InvalidRecordError):
                structure(variant, _Plain, record="plain")
        else:
            assert structure(variant, _Plain, record="plain") == expected


def test_plain_data_with_records_in_it_is_written_as_the_converter_writes_it() -> None:
    value = {"records": [_Plain(**PLAIN)], "none": None, "pair": (1, "two"), "many": {"x": [1.5, b"".hex()]}}

    assert json.loads(encode_json(value)) == json.loads(json.dumps(SLOW.unstructure(value)))


@attrs.frozen(kw_only=True)
class _Even:
    number: int = constrained(integer(0))

    @number.validator
    def _is_even(self, _attribute: object, value: int) -> None:
        if value % 2:
            raise ValueError("odd")


def test_a_class_with_another_validator_is_left_to_its_init() -> None:
    assert reader_of(_Even, SLOW.structure) is None
    assert structure({"number": 2}, _Even, record="even") == _Even(number=2)
    with pytest.raises(InvalidRecordError):
        structure({"number": 3}, _Even, record="even")
