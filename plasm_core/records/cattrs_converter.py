"""cattrs' converter: reads what `record_reader` refuses or cannot read, slowly, and names every problem.

It is imported for such a value only: cattrs takes as long to import as a small job takes to run.
"""

from __future__ import annotations

import collections.abc
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
from plasm_core.records.record_reader import MAX_ITEMS

T = TypeVar("T")
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


_converter = make_converter()


def structure(value: Any, cls: type[T], *, record: str) -> T:
    """Turn parsed JSON into a record. Raises: `InvalidRecordError`, naming every problem."""
    try:
        return _converter.structure(value, cls)
    except Exception as exc:
        raise InvalidRecordError(record, problems_of(exc)) from None


def structure_field(value: Any, kind: Any) -> Any:
    """Turn parsed JSON into the value of a field of a type. Raises: an exception, of any class, if it is none."""
    return _converter.structure(value, kind)


def unstructure(value: object) -> Any:
    """Convert a value that no record writer knows to data that `json.dumps` accepts."""
    return _converter.unstructure(value)
