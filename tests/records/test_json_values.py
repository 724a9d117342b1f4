"""JSON with more values than its record can have is refused before it is parsed, which takes time for each value."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.errors import InvalidRecordError, ProtocolError
from plasm_core.protocol.messages import FROM_CLIENT, MAX_CONTROL_BYTES, MAX_VALUES, Heartbeat, parse
from plasm_core.records import JobInput, Manifest
from plasm_core.records.converter import parse_json
from plasm_core.records.files import MAX_PATHS, FileLimits, JobFiles
from plasm_core.records.manifest import MAX_MANIFEST_BYTES, manifest_of

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\,[{é', max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='b"\\,[{', max_size=4), inner),
)


def counted(text: str) -> int:
    """Return the commas and opening brackets outside strings, by the definition."""
    return len(re.findall(r"[,\[{]", _STRING.sub("", text)))


def is_refused(text: str, maximum: int) -> bool:
    try:
        parse_json(text.encode(), record="test", maximum=1 << 20, maximum_values=maximum)
    except InvalidRecordError as exc:
        return "values" in str(exc)
    return False


@given(ANYTHING, st.integers(0, 12), st.booleans())
def test_values_are_counted_outside_strings(value: Any, maximum: int, is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)

    assert is_refused(text, maximum) == (counted(text) > maximum)


def heartbeat(inner: str) -> bytes:
    return f'{{"type":"heartbeat","x":[{inner}]}}'.encode()


FULL = {
    "numbers": ("0,", 1),
    "lists": ("[],", 2),
    "objects": ("{},", 2),
    "strings": ('"",', 1),
    "strings that look so": ('"[,{\\\\",', 1),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_message_may_have_so_many_values_and_no_more(kind: str) -> None:
    item, cost = FULL[kind]
    room = MAX_VALUES - 3  # the object, the comma and the list around them

    assert isinstance(parse(heartbeat((item * (room // cost))[:-1]), FROM_CLIENT), Heartbeat)
    with pytest.raises(ProtocolError, match="values"):
        parse(heartbeat((item * (room // cost + 2))[:-1]), FROM_CLIENT)


@pytest.mark.parametrize(
    "item", ["0,", "[],", "{},", '"",', "1e9,", "[" * 200 + "]" * 200 + ",", '"\\"",', '"\\\\",', "\\,", '",']
)
def test_a_message_of_the_greatest_size_is_refused_unparsed(
    item: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One took a sixteenth of a second of the event loop, and a heartbeat costs nothing."""
    from plasm_core.records import converter

    class _Never:
        def decode(self, _text: str) -> Any:
            raise AssertionError("parsed")

    monkeypatch.setattr(converter, "_DECODER", _Never())
    body = heartbeat(item * ((MAX_CONTROL_BYTES - 40) // len(item)) + "0")

    with pytest.raises(ProtocolError, match="values"):
        parse(body, FROM_CLIENT)


def test_the_largest_manifest_is_far_within_the_bound() -> None:
    paths = tuple(f"{number:02}" + '/,["' * 100 for number in range(MAX_PATHS))
    files = JobFiles(
        tree="00" * 32,
        read_only=tuple(f"r{path}" for path in paths),
        outputs=paths,
        limits=FileLimits(data_bytes=0, entries=0, descriptors=4),
    )
    manifest = manifest_of(
        module="00" * 32,
        inputs=JobInput(),
        stdin="00" * 32,
        files=files,
        grants=("clock.real", "random.real"),
    )
    text = manifest.to_json()

    assert len(text) < MAX_MANIFEST_BYTES
    assert Manifest.from_json(text) == manifest
    assert counted(text.decode()) < MAX_VALUES / 4


def test_a_manifest_of_many_values_is_refused() -> None:
    manifest = manifest_of(module="00" * 32, inputs=JobInput(), stdin="00" * 32)
    text = manifest.to_json().replace(b'"capabilities":[]', b'"capabilities":[' + b"0," * 1000 + b"0]")

    with pytest.raises(InvalidRecordError, match="values"):
        Manifest.from_json(text)
    assert attrs.evolve(manifest) == Manifest.from_json(manifest.to_json())
