"""The project's pages as a reader has them: headings, links, and code blocks with what is said of how to run them.

A comment before a code block says what its reader knows: `<!-- not run: REASON -->`, `<!-- exits: 7 -->`,
`<!-- file: NAME -->` for what is to be put into a file, `<!-- on: one -->` for which machine it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from tests.support.receipts import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(
            ROOT / name
            for name in (
                "README.md",
                "CONTRIBUTING.md",
                "SECURITY.md",
                "CHANGELOG.md",
                "php/README.md",
                "sdk/typescript/README.md",
            )
        ),
    ]
)
_FENCE = re.compile(r"^(```+)([a-z]*)[^\n]*\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"<!-- ([a-z ]+): (.*?) -->\s*\Z")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@attrs.frozen(kw_only=True)
class Block:
    """A code block. `line` is that of its first fence, `notes` what comments right before it say."""

    page: str
    line: int
    language: str
    text: str
    notes: Mapping[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def named(page: Path) -> str:
    """Return a page's name: its path in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return a page's code blocks."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=named(page),
            line=text.count("\n", 0, match.start()) + 1,
            language=match[2],
            text=match[3],
            notes=_notes(text[: match.start()]),
        )
        for match in _FENCE.finditer(text)
    ]


def _notes(before: str) -> dict[str, str]:
    found = {}
    while match := _NOTE.search(before):
        found[match[1]] = match[2]
        before = before[: match.start()]
    return found


def prose(page: Path) -> str:
    """Return a page without its code blocks and comments."""
    without = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"<!--.*?-->", "", without, flags=re.DOTALL)


def links(page: Path) -> Iterator[str]:
    """Yield where a page's links and pictures lead."""
    yield from _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return what a link to a place in the page may say behind its `#`."""
    return {_slug(text) for text in re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE)}


def _slug(heading: str) -> str:
    """Return a heading's anchor, as both GitHub and the site make it: letters, digits and hyphens."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", plain).strip())
