"""Write the OpenAPI document as code generators of today read it: prepare.py < openapi.json > prepared.json

OpenAPI 3.1 says of bytes that they have no schema; openapi-generator 7.26 makes a JSON value of that, and a file of
3.0's `format: binary`. Its C++ for a list of distinct enums does not compile, and asks for a problem where an answer may
be bytes or a problem.
"""

from __future__ import annotations

import json
import sys
from typing import Any

BINARY = {"type": "string", "format": "binary"}


def prepared(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with bytes as `format: binary`, and without `uniqueItems`."""
    for path in document["paths"].values():
        for operation in path.values():
            answers = operation["responses"]
            if any(media["schema"] == {} for media in answers.get("200", {}).get("content", {}).values()):
                for status in answers:
                    if status >= "400":
                        answers[status].pop("content", None)
            bodies = [*answers.values(), operation.get("requestBody", {})]
            for body in bodies:
                for kind, media in body.get("content", {}).items():
                    if media["schema"] == {} and kind != "text/event-stream":
                        media["schema"] = dict(BINARY)
    for schema in document["components"]["schemas"].values():
        for name, part in schema.get("properties", {}).items():
            part.pop("uniqueItems", None)
            if part.get("contentMediaType", "application/json") != "application/json":
                schema["properties"][name] = {**BINARY, "description": part["description"]}
    return document


if __name__ == "__main__":
    json.dump(prepared(json.load(sys.stdin)), sys.stdout)
