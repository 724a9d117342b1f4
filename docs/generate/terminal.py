"""The picture of a terminal in the README: the first blocks of the quickstart, which a test runs."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from docs.generate import DOCS

_BLOCKS = 3
_COLUMNS, _LINE, _CHARACTER, _MARGIN, _BAR = 96, 21, 8.44, 20, 34
_COLOURS = (("$ ", "#8ec07c"), ("✓", "#b8e08a"), ("✗", "#ff8f80"))
_TEXT, _GROUND, _TOP = "#e6e6e6", "#22272e", "#2d333b"


def render() -> str:
    """Return the SVG."""
    text = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:_BLOCKS]
    lines = [line for block in blocks for line in block.splitlines() if line != "…"]
    width = round(_COLUMNS * _CHARACTER) + 2 * _MARGIN
    height = _BAR + len(lines) * _LINE + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        'role="img" aria-label="A terminal: plasm demo, plasm run and plasm verify">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_GROUND}"/>',
        f'<path d="M0 26V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8v18z" fill="{_TOP}"/>',
        *(f'<circle cx="{16 + 18 * number}" cy="13" r="5" fill="#565d66"/>' for number in range(3)),
        f'<g font-family="DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14" fill="{_TEXT}" '
        'xml:space="preserve">',
    ]
    for number, line in enumerate(lines):
        y = _BAR + number * _LINE + 14
        parts.append(f'<text x="{_MARGIN}" y="{y}">{_coloured(line[:_COLUMNS])}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _coloured(line: str) -> str:
    for beginning, colour in _COLOURS:
        if line.startswith(beginning):
            rest = escape(line[len(beginning) :])
            return f'<tspan fill="{colour}">{escape(beginning)}</tspan>{rest}'
    return escape(line)
