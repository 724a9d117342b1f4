"""Read valid records from parsed JSON in one pass, each constraint checked once.

A reader stops at the first problem. The converter then reads the value again, slowly, and names every problem.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

import attrs

from plasm_core.records.fields import OPTIONAL_RECORD, Constraint, constraint_of
from plasm_core.records.json_names import json_name

MAX_ITEMS = 1024
"""How many records a list may have."""

Read = Callable[[Any], Any]
Otherwise = Callable[[Any, Any], Any]
_MISSING = object()
_set: Callable[[object, str, Any], None] = object.__setattr__


class UnreadableError(ValueError):
    """A value is not the record that was asked for. The converter says why."""


def reader_of(cls: type, otherwise: Otherwise) -> Read | None:
    """Return a function that makes a record of a class from parsed JSON, None for a class that needs its own `__init__`.

    The function raises an `Exception` for every value that the class and its constraints refuse. It sets the fields
    without `__init__`, whose validators would check each constraint a second time. `otherwise`: structures a field
    whose type is neither constrained nor a record.
    """
    if not attrs.has(cls) or hasattr(cls, "__attrs_init__") or hasattr(cls, "__attrs_pre_init__"):
        return None
    attributes = attrs.fields(cls)
    if not all(map(_is_plain, attributes)):
        return None
    try:
        kinds = typing.get_type_hints(cls)
    except NameError:  # a type that only type checkers import
        return None
    fields = []
    for attribute in attributes:
        read = _field_reader(attribute, kinds[attribute.name], otherwise)
        if read is None:
            return None
        default = attribute.default
        factory = getattr(default, "factory", None)
        fields.append((json_name(cls, attribute), attribute.name, read, default, factory))
    known = None if getattr(cls, "json_open", False) else frozenset(name for name, *_ in fields)
    new = cls.__new__
    settle: Callable[[Any], None] | None = getattr(cls, "__attrs_post_init__", None)

    def read_record(value: Any) -> Any:
        if not isinstance(value, dict) or (known is not None and not known.issuperset(value)):
            raise UnreadableError
        record = new(cls)
        for name, field, read, default, factory in fields:
            found = value.get(name, _MISSING)
            if found is not _MISSING:
                _set(record, field, read(found))
            elif factory is not None:
                _set(record, field, factory())
            elif default is not attrs.NOTHING:
                _set(record, field, default)
            else:
                raise UnreadableError
        if settle is not None:
            settle(record)
        return record

    return read_record


def _is_plain(attribute: attrs.Attribute[Any]) -> bool:
    """Return whether setting a field does all that `__init__` would do with it."""
    default = attribute.default
    return (
        attribute.init
        and attribute.converter is None
        and not getattr(default, "takes_self", False)
        # A second validator makes one object of both, which is no function.
        and (
            attribute.validator is None
            if constraint_of(attribute) is None
            else isinstance(attribute.validator, types.FunctionType)
        )
    )


def _field_reader(attribute: attrs.Attribute[Any], kind: Any, otherwise: Otherwise) -> Read | None:
    constraint = constraint_of(attribute)
    if constraint is not None:
        return _constrained(constraint)
    if OPTIONAL_RECORD in attribute.metadata:
        (kind,) = (item for item in typing.get_args(kind) if item is not type(None))
    if typing.get_origin(kind) is tuple and attrs.has(typing.get_args(kind)[0]):
        read = reader_of(typing.get_args(kind)[0], otherwise)
        return None if read is None else _listed(read)
    if attrs.has(kind):
        return reader_of(kind, otherwise)
    return _plain(kind) or (lambda value: otherwise(value, kind))


def _plain(kind: Any) -> Read | None:
    """Return a reader of a type without a constraint: a plain one, a list of one, or one that may be None."""
    if kind in (bool, int, float, str):

        def read(value: Any) -> Any:
            if type(value) is not kind:
                raise UnreadableError
            return value

        return read
    origin, items = typing.get_origin(kind), typing.get_args(kind)
    if origin is list and len(items) == 1:
        read_item = _plain(items[0])
        return None if read_item is None else _listed_as_list(read_item)
    if origin in (typing.Union, types.UnionType) and len(items) == 2 and type(None) in items:
        read_item = _plain(items[items[0] is type(None)])
        return None if read_item is None else _or_none(read_item)
    return None


def _listed_as_list(read: Read) -> Read:
    def read_list(value: Any) -> Any:
        if type(value) is not list:
            raise UnreadableError
        return list(map(read, value))

    return read_list


def _or_none(read: Read) -> Read:
    return lambda value: None if value is None else read(value)


def _constrained(constraint: Constraint) -> Read:
    load, accepts = constraint.load, constraint.accepts

    def read(value: Any) -> Any:
        loaded = load(value)
        if not accepts(loaded):
            raise UnreadableError
        return loaded

    def read_as_is(value: Any) -> Any:
        if not accepts(value):
            raise UnreadableError
        return value

    return read_as_is if constraint.loads_as_is else read


def _listed(read: Read) -> Read:
    def read_list(value: Any) -> Any:
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            raise UnreadableError
        return tuple(map(read, value))

    return read_list
