"""The guided walk leads along files that exist, and along few of them."""

from __future__ import annotations

import re

from tests.docs.pages import DOCS
from tests.support.receipts import ROOT

PAGE = (DOCS / "code-walk.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^(\d+)\. `([^`]+)`: .+\.$", PAGE, re.MULTILINE)
MOST = 35


def test_the_walk_is_short_and_in_order() -> None:
    numbers = [int(number) for number, _ in STEPS]
    files = [file for _, file in STEPS]

    assert numbers == list(range(1, len(numbers) + 1))
    assert 20 <= len(files) <= MOST
    assert len(files) == len(set(files))
    assert f"These {len(files)} files" in PAGE


def test_each_line_of_the_walk_leads_to_one_file() -> None:
    """A second file in a line would have to be opened too, but would not be counted."""
    lines = re.findall(r"^\d+\. .+$", PAGE, re.MULTILINE)

    assert [line for line in lines if len(re.findall(r"`[^`]+\.py`", line)) != 1] == []


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:plasm_core|plugins|php|tests)/[^`]+)`", PAGE)

    assert len(named) > len(STEPS)
    assert [name for name in named if not (ROOT / name).exists()] == []
