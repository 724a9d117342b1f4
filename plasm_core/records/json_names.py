"""The names of a record's fields in JSON."""

from __future__ import annotations

from typing import Any

import attrs

from plasm_core.records.fields import JSON_NAME


def camel(name: str) -> str:
    """Return the lowerCamelCase form of a snake_case name."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def json_name(cls: type, attribute: attrs.Attribute[Any]) -> str:
    """Return the name of a record's field in JSON: camel case where the class says `json_camel = True`."""
    given = attribute.metadata.get(JSON_NAME)
    if isinstance(given, str):
        return given
    return camel(attribute.name) if getattr(cls, "json_camel", False) else attribute.name
