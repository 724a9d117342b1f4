"""Each message in docs/operations.md stands there exactly as it is printed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.records import Outcome
from tests.docs.pages import DOCS
from tests.support.receipts import ROOT

PAGE = (DOCS / "operations.md").read_text(encoding="utf-8").partition("## Troubleshooting")[2]
MESSAGES = [message.replace("\\|", "|") for message in re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)]
_TABLE = (DOCS / "operations.md").read_text(encoding="utf-8").partition("| event |")[2].partition("\n\n")[0]
EVENTS = [
    event
    for cell in re.findall(r"^\| (`[^|]*) \|", _TABLE, re.MULTILINE)
    for event in re.findall("`([^`]+)`", cell)
]


def texts(file: Path) -> Iterator[str]:
    """Yield the texts of a program, with `…` for what is filled in."""
    for item in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(item, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in item.values)
        elif isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


SAID = [
    text
    for folder in ("plasm_core", "plugins")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if not {"tests", "testing"} & set(file.parts)
    for text in texts(file)
]
OUTCOMES = [str(Outcome(kind=kind)) for kind in ("out_of_gas", "output_limit", "timed_out")] + [
    str(Outcome(kind="trapped", trap="unreachable"))
]


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 40


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_that_is_printed(message: str) -> None:
    assert any(message in text for text in (*SAID, *OUTCOMES))


def test_an_event_is_one_that_is_logged() -> None:
    assert [event for event in EVENTS if not any(text.startswith(event) for text in SAID)] == []
    assert len(EVENTS) > 8
