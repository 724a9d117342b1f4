"""The fast writer of records and the converter make the same JSON, in the same order."""

from __future__ import annotations

import json
from typing import ClassVar

import attrs
import pytest

from plasm_core.errors import InvalidRecordError
from plasm_core.records.cattrs_converter import make_converter
from plasm_core.records.converter import encode_json, structure, unstructure
from plasm_core.records.fields import constrained, integer, optional, optional_record
from plasm_core.records.record_writer import writer_of
from tests.records.test_record_reader import examples

SLOW = make_converter()


@attrs.frozen(kw_only=True)
class _Part:
    number: int = constrained(integer(0))


@attrs.frozen(kw_only=True)
class _Whole:
    json_camel: ClassVar[bool] = True

    the_part: _Part
    more_parts: tuple[_Part, ...] = ()
    another_part: _Part | None = optional_record()
    some_number: int | None = optional(integer(0))
    plain: dict[str, int] = attrs.field(factory=dict)


def test_every_example_is_written_as_the_converter_writes_it() -> None:
    written = 0
    for cls, value in examples():
        try:
            record: object = structure(value, cls, record="example")
        except InvalidRecordError:  # some vectors are of messages to refuse
            continue
        written += 1
        assert json.dumps(unstructure(record)) == json.dumps(SLOW.unstructure(record))

    assert written > 20


@pytest.mark.parametrize(
    "record",
    [
        _Whole(the_part=_Part(number=1)),
        _Whole(the_part=_Part(number=1), another_part=_Part(number=2), some_number=0),
        _Whole(the_part=_Part(number=1), more_parts=(_Part(number=2), _Part(number=3)), plain={"x": 1}),
    ],
)
def test_nested_and_optional_records_are_written_as_the_converter_writes_them(record: _Whole) -> None:
    assert json.dumps(unstructure(record)) == json.dumps(SLOW.unstructure(record))


def test_records_within_plain_data_are_written() -> None:
    assert encode_json({"parts": [_Part(number=1)]}) == b'{"parts":[{"number":1}]}'


def test_plain_data_has_no_writer() -> None:
    assert writer_of(dict, unstructure) is None
