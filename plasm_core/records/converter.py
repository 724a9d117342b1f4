"""The one converter between JSON bytes and records.

A record is parsed once, at the edge, and every problem is named with its path.
"""

from __future__ import annotations

import collections.abc
import contextlib
import itertools
import json
import re
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from cattrs import BaseValidationError, ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from plasm_core.errors import InvalidRecordError, PlasmError
from plasm_core.records.fields import (
    OPTIONAL,
    OPTIONAL_RECORD,
    Constraint,
    ConstraintError,
    as_text,
    constraint_of,
)
from plasm_core.records.json_names import json_name
from plasm_core.records.record_reader import MAX_ITEMS, Read, reader_of
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
_Path = tuple[str, ...]


def _loader(constraint: Constraint) -> Callable[[Any, Any], Any]:
    return lambda value, _: constraint.structure(value)


def _optional_loader(converter: Converter) -> Callable[[Any, Any], Any]:
    def load(value: Any, kind: Any) -> Any:
        (record,) = (item for item in typing.get_args(kind) if item is not type(None))
        return converter.structure(value, record)

    return load


def _overrides(cls: type, converter: Converter, *, loading: bool) -> dict[str, Any]:
    """Return cattrs' keyword for each field: its JSON name, and its constraint's conversion."""
    overrides = {}
    for attribute in attrs.fields(cls):
        constraint = constraint_of(attribute)
        rename = json_name(cls, attribute)
        if constraint is None:
            is_optional = OPTIONAL_RECORD in attribute.metadata
            hook = _optional_loader(converter) if is_optional and loading else None
            overrides[attribute.name] = override(rename=rename, omit_if_default=is_optional, struct_hook=hook)
        elif loading:
            overrides[attribute.name] = override(rename=rename, struct_hook=_loader(constraint))
        else:
            overrides[attribute.name] = override(
                rename=rename,
                unstruct_hook=constraint.dump,
                omit_if_default=OPTIONAL in attribute.metadata,
            )
    return overrides


def make_converter() -> Converter:
    """Make a converter that honours field constraints and collects every problem."""
    converter = Converter(detailed_validation=True)

    def structure(cls: type) -> Any:
        load: Any = make_dict_structure_fn(
            cls,
            converter,
            _cattrs_forbid_extra_keys=not getattr(cls, "json_open", False),
            **_overrides(cls, converter, loading=True),
        )

        def hook(value: Any, kind: Any) -> Any:
            if not isinstance(value, dict):
                raise ConstraintError("expected an object")
            return load(value, kind)

        return hook

    def unstructure(cls: type) -> Any:
        return make_dict_unstructure_fn(cls, converter, **_overrides(cls, converter, loading=False))

    def sequence(kind: Any) -> Any:
        (item, *_) = typing.get_args(kind)

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, list):
                raise ConstraintError("expected a list")
            if len(value) > MAX_ITEMS:
                raise ConstraintError(f"expected a list of at most {MAX_ITEMS} items")
            return tuple(converter.structure(value, list[item]))  # type: ignore[valid-type]

        return hook

    for kind, (accepted, expected) in _PLAIN.items():
        converter.register_structure_hook(kind, _plain(kind, accepted, expected))
    converter.register_structure_hook_factory(_is_list, lambda kind: _list(converter, kind))
    converter.register_structure_hook_factory(_is_table, lambda kind: _table(converter, kind))
    converter.register_structure_hook_factory(attrs.has, structure)
    converter.register_structure_hook_factory(_is_tuple_of_records, sequence)
    converter.register_unstructure_hook_factory(attrs.has, unstructure)
    return converter


_PLAIN: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((float, int), "a number"),
    str: ((str,), "a string"),
    bytes: ((bytes,), "bytes"),
}
"""What a field without a constraint takes, as fields of plugins have: cattrs would convert, as in `int("5")`."""


def _plain(kind: type, accepted: tuple[type, ...], expected: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, wanted: Any) -> Any:  # the kind, or an enumeration of it
        if kind is str:
            value = as_text(value)
        if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
            raise ConstraintError(f"expected {expected}, got {_said(value)}")
        return wanted(value)

    return hook


_LISTS = (tuple, list, set, frozenset, collections.abc.Sequence, collections.abc.Set)
_TABLES = (dict, collections.abc.Mapping)


def _is_list(kind: Any) -> bool:
    """Return whether a type is a list, tuple or set, but for those of records, whose problems have paths of their own."""
    return (typing.get_origin(kind) or kind) in _LISTS and not any(map(attrs.has, typing.get_args(kind)))


def _list(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    """Return the function that structures a list's items as a tuple, list or set. A string is not accepted as a list."""
    origin, items = typing.get_origin(kind) or kind, typing.get_args(kind)
    fixed = origin is tuple and items and items[-1] is not Ellipsis
    made = {collections.abc.Sequence: tuple, collections.abc.Set: frozenset}.get(origin, origin)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise ConstraintError(f"expected a list, got {_said(value)}")
        if fixed and len(value) != len(items):
            raise ConstraintError(f"expected a list of {len(items)} items, got {len(value)}")
        kinds = items if fixed else (items[0] if items else Any,) * len(value)
        return made(
            _item(converter, f"item {number}", *pair)
            for number, pair in enumerate(zip(value, kinds, strict=False), 1)
        )

    return hook


def _is_table(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in _TABLES


def _table(converter: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    _, values = typing.get_args(kind) or (str, Any)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise ConstraintError(f"expected a table, got {_said(value)}")
        return {name: _item(converter, name, item, values) for name, item in value.items()}

    return hook


def _item(converter: Converter, where: str, value: Any, kind: Any) -> Any:
    """Structure one item of a list or table. Raises: `ConstraintError` with the item's path."""
    if kind is Any:
        return value
    try:
        return converter.structure(value, kind)
    except Exception as exc:
        found = "; ".join(f"{path}: {text}" if path else text for path, text in problems_of(exc))
        raise ConstraintError(f"{where}: {found}") from exc


def _said(value: Any) -> str:
    return f"the {_KINDS.get(type(value), type(value).__name__)} {value!r:.60}"


_KINDS = {str: "string", list: "list", dict: "table", int: "number", float: "number", bool: "value"}


def _is_tuple_of_records(kind: Any) -> bool:
    """Return whether a type is `tuple[Record, ...]`: cattrs would make one of an object or a string, too."""
    return typing.get_origin(kind) is tuple and attrs.has(typing.get_args(kind)[0])


_converter = make_converter()
_READERS: dict[type, Read | None] = {}
_WRITERS: dict[type, Write | None] = {}


def problems_of(exc: Exception, path: _Path = ()) -> list[tuple[str, str]]:
    """Flatten cattrs' nested errors to a list of (path, message)."""
    if isinstance(exc, ClassValidationError):
        with_notes, without = exc.group_exceptions()
        found = [
            problem
            for inner, note in with_notes
            for problem in problems_of(inner, (*path, _field_name(exc.cl, note)))
        ]
        return found + [problem for inner in without for problem in problems_of(inner, path)]
    if isinstance(exc, BaseValidationError):
        return [problem for inner in exc.exceptions for problem in problems_of(inner, path)]
    where = ".".join(path)
    if isinstance(exc, ForbiddenExtraKeysError):
        return [(".".join((*path, name)), "unknown field") for name in sorted(exc.extra_fields)]
    if isinstance(exc, KeyError):
        return [(where, "required, but missing")]
    if isinstance(exc, (ConstraintError, InvalidRecordError)):
        return [(where, str(exc))]
    if isinstance(exc, PlasmError):  # a default could not be determined
        return [(where, str(exc) + (f" ({exc.hint})" if exc.hint else ""))]
    return [(where, f"unusable value ({type(exc).__name__})")]


def _field_name(cls: type, note: AttributeValidationNote) -> str:
    return json_name(cls, getattr(attrs.fields(cls), note.name)) if attrs.has(cls) else note.name


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
        _READERS[cls] = reader_of(cls, _converter.structure)
    read = _READERS[cls]
    if read is not None:
        # The converter refuses the same records, and names every problem.
        with contextlib.suppress(Exception):
            return typing.cast("T", read(value))
    try:
        return _converter.structure(value, cls)
    except Exception as exc:
        raise InvalidRecordError(record, problems_of(exc)) from None


def unstructure(value: object) -> Any:
    """Convert a record to data that `json.dumps` accepts."""
    cls = type(value)
    if cls not in _WRITERS:
        _WRITERS[cls] = writer_of(cls, unstructure)
    write = _WRITERS[cls]
    return _converter.unstructure(value) if write is None else write(value)


def encode_json(value: object) -> bytes:
    """Encode a record or plain data as compact UTF-8 JSON."""
    return encode_plain(unstructure(value))


def encode_plain(value: object) -> bytes:
    """Encode data without records as compact UTF-8 JSON."""
    return _ENCODER.encode(value).encode("utf-8")
