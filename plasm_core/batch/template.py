"""Templates: a job's arguments with the fields of its input filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import attrs

from plasm_core.errors import PlasmError

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_MAX_FILLED_CHARACTERS = 1 << 20
_MOST_NAMED = 10


class BatchInputError(PlasmError):
    """An input of a batch cannot be used. The message names the line, file or template."""


@attrs.frozen
class Template:
    """A text with fields in braces: `{}` is the whole input, `{n}` its number from 0, `{name}` a column.

    `{{` and `}}` are braces.
    """

    text: str
    _parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template. Raises: `BatchInputError` on a brace without its other."""
        parts: list[tuple[str, str | None]] = []
        for found in _PART.finditer(text):
            part = found[0]
            if part in ("{{", "}}"):
                parts.append((part[0], None))
            elif found[1] is not None:
                parts.append(("", found[1].strip()))
            elif part in ("{", "}"):
                raise BatchInputError(
                    f"the template {text} has a single {part}", hint=f"{part}{part} is the character itself"
                )
            else:
                parts.append((part, None))
        return cls(text, tuple(parts))

    @property
    def fields(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(name for _, name in self._parts if name is not None)

    def fill(self, values: Mapping[str, str], where: str) -> str:
        """Return the text with its fields filled in. Raises: `BatchInputError`, which names the input."""
        filled = []
        for literal, name in self._parts:
            if name is None:
                filled.append(literal)
                continue
            if name not in values:
                known = ", ".join(f"{{{field}}}" for field in list(values)[:_MOST_NAMED])
                raise BatchInputError(
                    f"{where}: the template {self.text} has the unknown field {{{name}}}",
                    hint=f"there are {known}",
                )
            filled.append(values[name])
        text = "".join(filled)
        if len(text) > _MAX_FILLED_CHARACTERS:
            raise BatchInputError(f"{where}: {self.text[:80]} comes to {len(text)} characters")
        return text


def words(texts: Sequence[str]) -> tuple[Template, ...]:
    """Return the templates in texts that are split into words as a shell does. Raises: `BatchInputError`."""
    found: list[Template] = []
    for text in texts:
        try:
            found += map(Template.parse, shlex.split(text))
        except ValueError as exc:
            raise BatchInputError(f"the template {text}: {exc}") from exc
    return tuple(found)
