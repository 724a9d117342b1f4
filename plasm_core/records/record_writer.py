"""Turn records into data that `json.dumps` accepts, by one function for each class that is made once."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import attrs

from plasm_core.records.fields import OPTIONAL, OPTIONAL_RECORD, constraint_of
from plasm_core.records.json_names import json_name

Write = Callable[[Any], Any]


def writer_of(cls: type, otherwise: Write) -> Write | None:
    """Return the function that makes an object of JSON from a record of a class; None if the class is not a record.

    `otherwise`: turns the value of a field without a constraint into data.
    """
    if not attrs.has(cls):
        return None
    fields = []
    for attribute in attrs.fields(cls):
        constraint = constraint_of(attribute)
        dump: Write | None = otherwise
        if constraint is not None:
            dump = None if constraint.dumps_as_is else constraint.dump
        is_optional = OPTIONAL in attribute.metadata or OPTIONAL_RECORD in attribute.metadata
        fields.append((json_name(cls, attribute), attribute.name, dump, is_optional))

    fields.sort(key=operator.itemgetter(3))  # those that may be left out come last, as cattrs writes them

    def write(record: Any) -> dict[str, Any]:
        made = {}
        for name, field, dump, is_optional in fields:
            value = getattr(record, field)
            if value is None and is_optional:
                continue
            made[name] = value if dump is None else dump(value)
        return made

    return write
