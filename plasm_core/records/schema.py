"""The JSON Schemas of the manifest, the receipt's statement, a batch's jobs and fraud proofs (draft 2020-12), made from the records.

`python -m plasm_core.records.schema docs/schemas` writes them. docs/schemas/README.md lists the rules that no schema
can express.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from plasm_core.records.envelope import MAX_SIGNATURES
from plasm_core.records.fields import OPTIONAL_RECORD, Constraint, constraint_of
from plasm_core.records.files import MAX_PATHS
from plasm_core.records.files_description import FilesDescription
from plasm_core.records.fraud_proof import FRAUD_PROOF_FORMAT, INPUTS, MAX_RECEIPTS
from plasm_core.records.job_description import JobDescription
from plasm_core.records.json_names import json_name
from plasm_core.records.manifest import GAS_SCHEDULES, PROFILE, Manifest
from plasm_core.records.outcome import CLAIMED, Outcome
from plasm_core.records.receipt import Asked, Predicate, Receipt, Statement

Schema = dict[str, Any]


def manifest_schema() -> Schema:
    """Return the JSON schema of a manifest."""
    return {**_head("manifest"), **_object(Manifest)}


def receipt_schema() -> Schema:
    """Return the JSON schema of a receipt's statement, the payload of its envelope."""
    return {**_head("receipt"), **_described(Receipt), **_object(Statement)}


def job_schema() -> Schema:
    """Return the schema of a line of `plasm map --jobs FILE`."""
    return {**_head("job"), **_object(JobDescription)}


def files_schema() -> Schema:
    """Return the schema of the part `files` of a form of the HTTP API."""
    return _object(FilesDescription)


def fraud_proof_schema() -> Schema:
    """Return the schema of a fraud proof (docs/fraud-proofs.md)."""
    base64 = {
        "type": "string",
        "pattern": "^([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2}==|[A-Za-z0-9+/_-]{3}=)?$",
    }
    text = {"type": "string", "maxLength": 1024}
    signature = {
        "type": "object",
        "properties": {"keyid": text, "sig": base64},
        "required": ["sig"],
    }
    envelope = {
        "type": "object",
        "description": "The DSSE envelope of a receipt: its payload is described by receipt.json.",
        "properties": {
            "payload": base64,
            "payloadType": text,
            "signatures": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_SIGNATURES,
                "items": signature,
            },
        },
        "required": ["payload", "payloadType", "signatures"],
    }
    return {
        **_head("fraud-proof"),
        "description": "Signed receipts of one task, of which at least one is false, and inputs of the task.",
        "type": "object",
        "properties": {
            "format": {"const": FRAUD_PROOF_FORMAT},
            "receipts": {"type": "array", "minItems": 1, "maxItems": MAX_RECEIPTS, "items": envelope},
            "inputs": {"type": "object", "properties": dict.fromkeys(INPUTS, base64)},
        },
        "required": ["format", "receipts"],
    }


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
    if OPTIONAL_RECORD in field.metadata:
        (kind,) = (item for item in typing.get_args(kind) if item is not type(None))
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


def _fields_go_with_profile() -> Schema:
    return {
        "if": {"properties": {"profile": {"const": PROFILE}}},
        "then": {"properties": {"files": False, "entry": False}},
    }


# Rules over several fields of a record: see `Outcome.__attrs_post_init__`, `Receipt.from_statement`.
_RULES: dict[type, Schema] = {
    Outcome: {
        "allOf": [
            _goes_with("code", "exited", required=True),
            _goes_with("trap", "trapped", required=True),
            _goes_with("detail", *CLAIMED, required=False),
        ]
    },
    JobDescription: {
        "allOf": [
            {"not": {"required": [one, other]}}
            for one, other in (
                ("stdin", "stdin_base64"),
                ("stdin", "stdin_file"),
                ("stdin_base64", "stdin_file"),
            )
        ]
    },
    Manifest: _fields_go_with_profile(),
    Asked: _fields_go_with_profile(),
    Predicate: {
        "allOf": [
            {
                "if": {"properties": {"asked": {"properties": {"capabilities": {"maxItems": 0}}}}},
                "then": {"properties": {"result": {"properties": {"reproducible": {"const": True}}}}},
                "else": {"properties": {"result": {"properties": {"reproducible": {"const": False}}}}},
            },
            *(
                {
                    "if": {"properties": {"asked": {"properties": {"profile": {"const": profile}}}}},
                    "then": {"properties": {"result": {"properties": {"gasSchedule": {"const": schedule}}}}},
                }
                for profile, schedule in GAS_SCHEDULES.items()
            ),
        ]
    },
    Statement: {
        "allOf": [
            {
                "properties": {
                    "subject": {
                        "maxItems": 2 + MAX_PATHS,
                        "allOf": [
                            {"contains": _named(name), "maxContains": 1} for name in ("stdout", "stderr")
                        ],
                    }
                }
            },
            {
                "if": {
                    "properties": {"predicate": {"properties": {"asked": {"properties": {"files": False}}}}}
                },
                "then": {"properties": {"subject": {"maxItems": 2}}},
            },
        ]
    },
}


def main(arguments: Sequence[str]) -> None:
    """Write the schemas into a directory."""
    made = {
        "manifest": manifest_schema(),
        "receipt": receipt_schema(),
        "job": job_schema(),
        "fraud-proof": fraud_proof_schema(),
    }
    for name, schema in made.items():
        Path(arguments[0], f"{name}.json").write_text(encoded(schema), encoding="utf-8")


def encoded(schema: Schema) -> str:
    """Return a schema in the form of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
