"""Hooks of mkdocs: pages that lie elsewhere in the repository, and links to what is not on the site."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
BORROWED = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "php.md": "php/README.md",
    "reporting.md": "SECURITY.md",
    "typescript.md": "sdk/typescript/README.md",
}
"""Pages of the site that are files of the repository outside docs/, unless docs/ has them."""
_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(?<!<pre>)<code>([^<]*)</code>")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
_SEAM = re.compile(r"(?<=[\w\])][._/=|])(?=[\w\[{])|(?<=[a-z])(?=[A-Z])")
_CONSOLE = re.compile(r'<div class="language-(?:sh|console) highlight">.*?</div>', re.DOTALL)
_TEXT = re.compile(r"(?<=>)[^<]+(?=<)")
_SHORT = 16
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what is borrowed."""
    for name, source in BORROWED.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Lead links to where their target is on the site; of what is not there the path is shown instead."""
    name = page.file.src_uri
    source = BORROWED[name] if page.file.generated_by and name in BORROWED else f"docs/{name}"
    pages = {path: name for name, path in BORROWED.items() if files.get_file_from_path(name)}

    def led(match: re.Match[str]) -> str:
        text, link, anchor = match[1], match[2], match[3] or ""
        found = os.path.normpath(PurePosixPath(source).parent / link)
        place = pages.get(found, found.removeprefix("docs/") if found.startswith("docs/") else None)
        if place is not None and files.get_file_from_path(place):
            return f"[{text}]({os.path.relpath(place, PurePosixPath(name).parent)}{anchor})"
        if place is not None and (index := f"{place}/README.md") and files.get_file_from_path(index):
            return f"[{text}]({os.path.relpath(index, PurePosixPath(name).parent)}{anchor})"
        if (ROOT / found).exists():
            return text if found in text else f"{text} (`{found}`)"
        return match[0]

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(led, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(led, markdown[end:])])


def on_page_content(html: str, **_: Any) -> str:
    """Mend code in a line: a | that its table had to escape, and where lines may break: at seams, not behind --."""

    def mended(match: re.Match[str]) -> str:
        text = match[1].replace("\\|", "|")
        if len(text) > _SHORT:
            text = _SEAM.sub("<wbr>", text)
        return f"<code>{_whole(text)}</code>"

    def kept(match: re.Match[str]) -> str:
        return _TEXT.sub(lambda text: _whole(text[0]), match[0])

    return _CONSOLE.sub(kept, _CODE.sub(mended, html))


def _whole(text: str) -> str:
    return _OPTION.sub(r'<span class="whole">\g<0></span>', text)
