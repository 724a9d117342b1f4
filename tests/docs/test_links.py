"""Every link leads somewhere, and every page can be come to."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import DOCS, PAGES, anchors, blocks, links, named
from tests.support.receipts import ROOT

WHERE = pytest.mark.parametrize("page", PAGES, ids=named)


def target(page: Path, link: str) -> Path:
    """Return the file that a link leads to."""
    path = urlsplit(link).path
    return (page.parent / path).resolve() if path else page


def internal(page: Path) -> list[str]:
    return [link for link in links(page) if not urlsplit(link).scheme]


@WHERE
def test_every_link_leads_to_a_file_of_the_repository(page: Path) -> None:
    missing = [link for link in internal(page) if not target(page, link).exists()]

    assert missing == []


@WHERE
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    lost = [
        link
        for link in internal(page)
        if (anchor := urlsplit(link).fragment) and anchor not in anchors(target(page, link))
    ]

    assert lost == []


@WHERE
def test_every_link_out_is_encrypted(page: Path) -> None:
    assert [link for link in links(page) if urlsplit(link).scheme not in ("", "https")] == []


def test_every_page_can_be_come_to_from_the_first() -> None:
    seen, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        found = (target(page, link) for link in internal(page))
        todo += [path for path in found if path.suffix == ".md" and path.is_relative_to(ROOT)]

    assert [named(page) for page in PAGES if page.is_relative_to(DOCS) and page not in seen] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=named)
def test_every_page_of_the_docs_starts_with_something_to_paste(page: Path) -> None:
    """House style: before the first section, or else a reader scrolls for what to do."""
    first = blocks(page)[0]
    before = page.read_text().split("\n")[: first.line]

    assert first.language in ("sh", "console", "python", "php")
    assert sum(line.startswith("#") for line in before) == 1
