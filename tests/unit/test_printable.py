"""Text from elsewhere: nothing in it may take effect on a terminal or forge a line."""

from __future__ import annotations

import json
import re

import pytest

from plasm_core.printable import cleaned, json_text, visible
from plasm_core.records.converter import parse_json
from tests.support.receipts import ROOT

VECTORS = json.loads((ROOT / "tests" / "vectors" / "printable.json").read_text())["visible"]
HOSTILE = "\x1b[2J\x07\x9b31m\u202eexe\u2066\x85\x7f\u2028\ud800"


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_a_text_is_shown_as_its_vector_says(case: dict[str, str]) -> None:
    assert visible(case["text"]) == case["shown"]


def test_every_shown_text_is_printable() -> None:
    every = "".join(map(chr, range(0x11_0000)))

    assert visible(every).isprintable()
    assert cleaned(every, maximum=len(every)).isprintable()
    assert json_text(every).isprintable()
    characters = [char for char in every if not "\ud800" <= char <= "\udfff"]
    assert json.loads(json_text(characters)) == characters


def test_the_characters_to_keep_are_kept() -> None:
    assert visible("a\n\tb\x9bc", keep="\n\t") == "a\n\tb\\x9bc"


@pytest.mark.parametrize("instead", [" ", "?", "\N{REPLACEMENT CHARACTER}"])
def test_a_cleaned_text_is_as_long_as_it_was_and_no_longer_than_it_may(instead: str) -> None:
    assert cleaned("a\x9bb", maximum=10, instead=instead) == f"a{instead}b"
    assert cleaned("abc", maximum=2, instead=instead) == "ab"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_keeps_its_meaning(indent: int | None) -> None:
    value = {HOSTILE: [HOSTILE, "ä ✓ 日本\n", {"a": None}], "empty": {}}

    encoded = json_text(value, indent=indent)

    assert json.loads(encoded) == value
    assert encoded.replace("\n", "").isprintable()
    assert encoded.encode()  # a lone surrogate too
    assert "ä ✓ 日本" in encoded
    assert parse_json(json_text({"a": "\x9b"}).encode(), record="x", maximum=100) == {"a": "\x9b"}


def test_only_one_module_makes_text_printable() -> None:
    """A second one would differ one day: what checks a text may ask, what replaces may not."""
    scrubs = re.compile(r"if \w+\.isprintable\(\) else")
    files = [*(ROOT / "plasm_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    found = [path.relative_to(ROOT).as_posix() for path in files if scrubs.search(path.read_text())]

    assert files
    assert found in (["plasm_core/printable.py"], [])
