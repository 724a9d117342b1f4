"""A public class name stands once over plasm_core and plugins, so that a name alone says which class is meant."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.support.receipts import ROOT

SEVERAL = {
    "Result": "a receipt's result, and the message of the protocol that brings it; both names are on the wire",
}
"""Names that stand more than once, with the reason. Nothing is to be added without one."""


def places_of_public_classes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    roots = [ROOT / "plasm_core", *sorted((ROOT / "plugins").glob("*/plasm_*"))]
    for root in roots:
        for file in sorted(root.rglob("*.py")):
            for item in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
                    found[item.name].append(str(file.relative_to(ROOT)))
    return found


def test_a_public_class_name_stands_once() -> None:
    several = {name: files for name, files in places_of_public_classes().items() if len(files) > 1}

    assert {name: files for name, files in several.items() if name not in SEVERAL} == {}


def test_no_exception_is_kept_for_longer_than_needed() -> None:
    found = places_of_public_classes()

    assert [name for name in SEVERAL if len(found[name]) < 2] == []
