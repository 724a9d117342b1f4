"""The OpenAPI document is a valid one, and every reference in it leads somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema

from plasm_core.web.api_document import document

_METHODS = ("get", "put", "post", "delete")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_every_schema_is_a_schema_and_every_reference_leads_to_one() -> None:
    found = document()

    schemas = found["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    used = set(_references(found))
    assert used == {f"#/components/schemas/{name}" for name in schemas} - {"#/components/schemas/Output"}


def test_every_operation_has_a_name_of_its_own_and_its_path_parameters() -> None:
    names = []
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            assert method in _METHODS
            names.append(operation["operationId"])
            in_path = {entry["name"] for entry in operation["parameters"] if entry["in"] == "path"}
            assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
    assert len(names) == len(set(names)) > 10
