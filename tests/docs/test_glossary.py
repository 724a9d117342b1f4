"""The glossary's names exist: a reader who looks one up finds it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import DOCS
from tests.support.receipts import ROOT

PAGE = (DOCS / "glossary.md").read_text(encoding="utf-8")
COLUMNS = ("word", "meaning", "Python", "PHP", "command line", "protocol and records")
ROWS = [
    dict(zip(COLUMNS, cells, strict=True))
    for line in PAGE.splitlines()
    if line.startswith("| ")
    and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == len(COLUMNS)
    if cells != list(COLUMNS)
]


def names(column: str) -> list[str]:
    """Return each name in a column once."""
    return sorted({name for row in ROWS for name in re.findall("`([^`]+)`", row[column])})


def texts() -> Iterator[str]:
    """Yield the texts that specify protocols and records."""
    for page in ("protocol.md", "network.md", "receipts.md", "schemas/manifest.json", "schemas/receipt.json"):
        yield (DOCS / page).read_text(encoding="utf-8")


def test_a_word_has_one_row() -> None:
    words = [row["word"] for row in ROWS]

    assert len(words) > 40
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", names("Python"))
def test_a_name_of_python_exists(name: str) -> None:
    path = f"plasm_core.{name}"
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, attribute = path.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("name", names("PHP"))
def test_a_name_of_php_exists(name: str) -> None:
    assert (ROOT / "php" / "src" / f"{name.replace(chr(92), '/')}.php").is_file()


@pytest.mark.parametrize("name", names("command line"))
def test_a_name_of_the_command_line_exists(name: str) -> None:
    assert name in (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", names("protocol and records"))
def test_a_name_of_the_protocol_is_in_its_specification(name: str) -> None:
    assert any(name in text for text in texts())
