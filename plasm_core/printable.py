r"""Text from elsewhere, made fit for a terminal, a log, a record or a message.

What counts is `str.isprintable`: control characters of ASCII and of ISO 6429's C1 set, the marks that turn the
direction of writing (UAX #9), separators, surrogates and what Unicode has not assigned are not printable.
`Plasm\Record\Printable` does the same in PHP; tests/vectors/printable.json holds both to it.
"""

from __future__ import annotations

import json
from typing import Any


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text with unprintable characters escaped, as `\x9b` and `\u202e`.

    `keep`: characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def cleaned(text: str, *, maximum: int, instead: str = " ") -> str:
    """Return a text, at most `maximum` characters of it, with a substitute for each unprintable character.

    For fields without escapes, in records and protocol messages.
    """
    return "".join(char if char.isprintable() else instead for char in text[:maximum])


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe to show on a terminal: unprintable characters are escaped."""
    encoded = json.dumps(value, indent=indent, ensure_ascii=False)
    if encoded.isprintable():
        return encoded
    # Outside strings JSON has only blanks and line ends, which escapes could not replace.
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in encoded)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1] if char != "\x7f" else "\\u007f"
