"""Where a setting comes from, so that a mistake is shown with its file and line, as `nginx -t` does."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from plasm_core import toml_text

_MAX_LINES = 2000
"""How many lines are looked through for a key: each may be parsed with all lines before it."""


class Origins:
    """Remembers the last origin of each key, by its path such as `storage.keep_s`. A later one replaces an earlier."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, str]] = []
        self._named: dict[str, str] = {}

    def read(self, file: Path, text: str) -> None:
        """Remember a file that was read, and its text. Its keys replace those of the files before it."""
        self._files.append((file, text))

    def name(self, path: Sequence[str], origin: str) -> None:
        """Remember where a key's value comes from: a variable, or an option."""
        self._named[".".join(path)] = origin

    def of(self, path: str) -> str | None:
        """Return where a key or its table was set, as in `plasm.toml:3`; None if unknown."""
        parts = path.split(".")
        for count in range(len(parts), 0, -1):
            found = self._named.get(".".join(parts[:count]))
            if found is not None:
                return found
            for file, text in reversed(self._files):
                line = line_of(text, parts[:count])
                if line is not None:
                    return f"{file}:{line}"
        return None

    def located(self, problems: Iterable[tuple[str, str]]) -> list[str]:
        """Return problems, each a path and what is wrong there, as lines with their origins."""
        lines = []
        for path, text in problems:
            origin = self.of(path)
            lines.append(f"{path}: {text}" + (f" (in {origin})" if origin else ""))
        return lines


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Return the line in which a TOML text sets a key, the first being 1; None if it does not, or is too long."""
    lines = text.splitlines(keepends=True)
    if len(lines) > _MAX_LINES:
        return None
    before = 0
    for count in range(1, len(lines) + 1):
        try:
            tree = toml_text.loads("".join(lines[:count]))
        except (ValueError, RecursionError):
            continue  # the value continues on the next line
        if _has(tree, path):
            return before + 1
        before = count
    return None


def _has(tree: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def meant(name: str, known: Collection[str]) -> str:
    """Return `, did you mean …?` where a known name is close to one that is not known, else nothing."""
    import difflib  # only for a wrong name

    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]}?" if close else ""


def under(table: str, problems: Iterable[tuple[str, str]], known: Collection[str]) -> list[tuple[str, str]]:
    """Return a table's problems with their whole paths. `known`: the names of its keys."""
    return [
        (
            f"{table}.{path}" if path else table,
            text + meant(path, known) if text == "unknown field" else text,
        )
        for path, text in problems
    ]
