"""The JSON Schemas of the manifest and of the receipt's statement (draft 2020-12), made from the records.

`python -m plasm_core.records.schema docs/schemas` writes them. docs/schemas/README.md lists what no schema
can say.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from plasm_core.records.converter import json_name
from plasm_core.records.fields import Constraint, constraint_of
from plasm_core.records.manifest import Manifest
from plasm_core.records.outcome import CLAIMED, Outcome
from plasm_core.records.receipt import Predicate, Receipt, Statement

Schema = dict[str, Any]


def manifest_schema() -> Schema:
    """Return the schema of a manifest."""
    return {**_head("manifest"), **_object(Manifest)}


def receipt_schema() -> Schema:
    """Return the schema of a receipt's statement: the payload of its envelope."""
    return {**_head("receipt"), **_described(Receipt), **_object(Statement)}


def _head(name: str) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:phase:schema:{name}:v0",
        "title": name,
    }


def _described(cls: type) -> Schema:
    return {"description": " ".join(cls.__doc__.split())} if cls.__doc__ else {}


def _object(cls: type) -> Schema:
    """Return the schema of a record: fields without a default are required."""
    types = typing.get_type_hints(cls)
    fields = attrs.fields(cls)
    schema: Schema = {"type": "object", **_described(cls)}
    schema["properties"] = {json_name(cls, field): _field(field, types[field.name]) for field in fields}
    schema["required"] = [json_name(cls, field) for field in fields if field.default is attrs.NOTHING]
    if not getattr(cls, "json_open", False):
        schema["additionalProperties"] = False
    return schema | _RULES.get(cls, {})


def _field(field: attrs.Attribute[Any], kind: Any) -> Schema:
    constraint = constraint_of(field)
    if constraint is not None:
        return _value(constraint)
    if typing.get_origin(kind) is tuple and attrs.has(typing.get_args(kind)[0]):
        item = typing.get_args(kind)[0]
        return {"type": "array", "items": _object(item)}
    return _object(kind)


def _value(constraint: Constraint) -> Schema:
    schema = dict(constraint.schema)
    if constraint.accepts(None):
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        else:
            schema["type"] = [schema["type"], "null"]
    return schema


def _goes_with(name: str, *kinds: str, required: bool) -> Schema:
    """Return the rule that an outcome has a field only if it is of certain kinds, or just if it is."""
    null = {"type": "null"}
    rule = {"if": {"properties": {"kind": {"enum": list(kinds)}}}, "else": {"properties": {name: null}}}
    return {**rule, "then": {"required": [name], "properties": {name: {"not": null}}}} if required else rule


def _named(name: str) -> Schema:
    return {"properties": {"name": {"const": name}}}


# What a record checks over several of its fields: see `Outcome.__attrs_post_init__`, `Receipt.from_statement`.
_RULES: dict[type, Schema] = {
    Outcome: {
        "allOf": [
            _goes_with("code", "exited", required=True),
            _goes_with("trap", "trapped", required=True),
            _goes_with("detail", *CLAIMED, required=False),
        ]
    },
    Predicate: {
        "if": {"properties": {"asked": {"properties": {"capabilities": {"maxItems": 0}}}}},
        "then": {"properties": {"result": {"properties": {"reproducible": {"const": True}}}}},
        "else": {"properties": {"result": {"properties": {"reproducible": {"const": False}}}}},
    },
    Statement: {
        "allOf": [
            {
                "properties": {
                    "subject": {
                        "maxItems": 2,
                        "allOf": [{"contains": _named("stdout")}, {"contains": _named("stderr")}],
                    }
                }
            }
        ]
    },
}


def main(arguments: Sequence[str]) -> None:
    """Write the schemas into a directory."""
    for name, schema in (("manifest", manifest_schema()), ("receipt", receipt_schema())):
        Path(arguments[0], f"{name}.json").write_text(encoded(schema), encoding="utf-8")


def encoded(schema: Schema) -> str:
    """Return a schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
