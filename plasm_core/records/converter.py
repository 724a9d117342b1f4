"""The one converter between JSON bytes and records.

A record is parsed once, at the edge, and every problem is named with its path.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import typing
from typing import Any, TypeVar

from plasm_core.errors import InvalidRecordError
from plasm_core.records.record_reader import Read, reader_of
from plasm_core.records.record_writer import Write, writer_of

T = TypeVar("T")

MAX_DEPTH = 255
"""How deep lists and objects may be nested."""
MAX_NUMBER_CHARACTERS = 1000
_SEPARATORS = (b",", b"[", b"{")

# An unclosed string matches up to the end of the text: otherwise each quote in it would be tried as a beginning.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DEEPER = [1 if byte in b"[{" else -1 for byte in range(256)]

_READERS: dict[type, Read | None] = {}
_WRITERS: dict[type, Write | None] = {}
_AS_IS = frozenset({type(None), bool, int, float, str, bytes})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    if "\0" in "".join(found):
        raise ValueError("a name has a NUL in it")
    return found


def _integer(digits: str) -> int | float:
    """Read an integer as PHP does: one of more than 64 bits, which no field takes, is a float."""
    return int(digits) if len(digits) < 19 else _float(digits)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number has more than {MAX_NUMBER_CHARACTERS} characters")
    return float(text)


def _is_too_deep(data: bytes) -> bool:
    """Return whether lists and objects are nested deeper than `MAX_DEPTH`, strings set aside."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    return max(itertools.accumulate(map(_DEEPER.__getitem__, brackets)), default=0) > MAX_DEPTH


def _has_more_values(data: bytes, maximum: int) -> bool:
    """Return whether there are more commas and opening brackets than that, strings set aside."""
    if sum(map(data.count, _SEPARATORS)) <= maximum:
        return False
    # A string follows a comma or a bracket, or a name that does: more strings than twice as many are too many.
    most = 4 * maximum + 4
    pieces = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"', most)
    return len(pieces) > most or sum(map(b" ".join(pieces[::2]).count, _SEPARATORS)) > maximum


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Created once: json.loads and json.dumps with options create a new one for each call.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_float, parse_int=_integer
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def parse_json(data: bytes, *, record: str, maximum: int, maximum_values: int | None = None) -> Any:
    """Parse JSON strictly: UTF-8, no duplicate names, no NaN, at most `maximum` bytes (docs/receipts.md, "Reading").

    `maximum_values`: refuse JSON with more commas and opening brackets, before it is parsed: parsing takes time for
    each value.

    Raises: `InvalidRecordError`.
    """
    if len(data) > maximum:
        raise InvalidRecordError(record, [("", f"{len(data)} bytes, more than the {maximum} allowed")])
    if maximum_values is not None and _has_more_values(data, maximum_values):
        raise InvalidRecordError(record, [("", f"more than {maximum_values} values")])
    try:
        text = data.decode("utf-8")
        if _is_too_deep(data):
            raise InvalidRecordError(record, [("", "nested too deeply")])
        if text.startswith("\ufeff"):
            raise ValueError("Unexpected UTF-8 BOM")
        value = _DECODER.decode(text)
        if "\\u" in text:  # an escape may name half a character, which no UTF-8 can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except RecursionError:
        raise InvalidRecordError(record, [("", "nested too deeply")]) from None
    except ValueError as exc:
        raise InvalidRecordError(record, [("", f"not JSON: {exc}")]) from None


def structure(value: Any, cls: type[T], *, record: str) -> T:
    """Turn parsed JSON into a record. Raises: `InvalidRecordError`, naming every problem."""
    if cls not in _READERS:
        _READERS[cls] = reader_of(cls, _structure_field)
    read = _READERS[cls]
    if read is not None:
        # The converter refuses the same records, and names every problem.
        with contextlib.suppress(Exception):
            return typing.cast("T", read(value))
    from plasm_core.records import cattrs_converter

    return cattrs_converter.structure(value, cls, record=record)


def _structure_field(value: Any, kind: Any) -> Any:
    from plasm_core.records import cattrs_converter

    return cattrs_converter.structure_field(value, kind)


def unstructure(value: object) -> Any:
    """Convert a record to data that `json.dumps` accepts."""
    cls = type(value)
    if cls in _AS_IS:
        return value
    if cls is dict:
        return {unstructure(name): unstructure(item) for name, item in value.items()}  # type: ignore[attr-defined]
    if cls is list:
        return [unstructure(item) for item in value]  # type: ignore[attr-defined]
    if cls not in _WRITERS:
        _WRITERS[cls] = writer_of(cls, unstructure)
    write = _WRITERS[cls]
    if write is not None:
        return write(value)
    from plasm_core.records import cattrs_converter

    return cattrs_converter.unstructure(value)


def encode_json(value: object) -> bytes:
    """Encode a record or plain data as compact UTF-8 JSON."""
    return encode_plain(unstructure(value))


def encode_plain(value: object) -> bytes:
    """Encode data without records as compact UTF-8 JSON."""
    return _ENCODER.encode(value).encode("utf-8")
