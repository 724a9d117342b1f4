"""What in docs/ comes out of code is what the code makes of it."""

from __future__ import annotations

import sys

import pytest

from docs.generate import DOCS, diagram
from docs.generate.pages import PAGES

HOW = "run: python -m docs.generate"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the pages show the defaults of Python 3.11 and later")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_of_it(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), HOW


def test_the_picture_is_of_the_diagram_as_it_is() -> None:
    assert diagram.is_current(), HOW
