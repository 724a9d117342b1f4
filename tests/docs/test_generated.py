"""What in docs/ comes out of code is what the code makes of it."""

from __future__ import annotations

import sys

import pytest

from docs.generate import DOCS, commands, diagram
from docs.generate.pages import PAGES

HOW = "run: python -m docs.generate"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the pages show the defaults of Python 3.11 and later")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), HOW


def test_the_image_shows_the_current_diagram() -> None:
    assert diagram.is_current(), HOW


@pytest.mark.parametrize("path", ["plasm run", "plasm web", "plasm web token make", "plasmd"])
def test_every_command_that_can_be_run_has_a_section(path: str) -> None:
    assert f"\n## {path}\n" in (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("With --json it ends", "With `--json` it ends"),
        ("`plasm map --resume DIR` goes on", "`plasm map --resume DIR` goes on"),
        ("as in /ip4/192.0.2.1/tcp/4001", "as in `/ip4/192.0.2.1/tcp/4001`"),
    ],
)
def test_what_a_reader_types_is_in_backticks_once(text: str, marked: str) -> None:
    assert commands.marked(text) == marked
