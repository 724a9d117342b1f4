"""Constraints on a record's fields: checked on construction and on parsing, and shown in the JSON Schema.

One constraint serves all three, so that the code and the published schema cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import attrs

MAX_INTEGER = 2**53 - 1
"""The greatest integer that every JSON implementation reads alike (RFC 7493, section 2.2)."""

_CONSTRAINT = "plasm.constraint"
JSON_NAME = "plasm.json_name"


class ConstraintError(ValueError):
    """A value is not what its field takes."""


def shown(value: object) -> str:
    """Show a wrong value in an error message: short, on one line, strings in double quotes."""
    if isinstance(value, str):
        text = '"' + value.encode("unicode_escape").decode("ascii") + '"'
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, (list, tuple)):
        plain = not any(isinstance(item, (list, tuple, dict)) for item in value)
        text = "[" + ", ".join(map(shown, value)) + "]" if plain and len(value) <= 5 else "a list"
    elif isinstance(value, dict):
        text = "an object"
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


@attrs.frozen(kw_only=True)
class Constraint:
    """What one field takes.

    `expected` completes "expected …", for the value that was wrong; `accepts` tells a good value from a bad
    one; `load` and `dump` convert between the JSON form and the record's.
    """

    expected: Callable[[Any], str]
    schema: dict[str, Any]
    accepts: Callable[[Any], bool]
    load: Callable[[Any], Any] = lambda value: value
    dump: Callable[[Any], Any] = lambda value: value

    def check(self, value: object) -> None:
        """Raise `ConstraintError` unless `value` is what the field takes."""
        if not self.accepts(value):
            raise self._error(value)

    def structure(self, value: object) -> Any:
        """Convert a value out of JSON. Raises: `ConstraintError`."""
        try:
            loaded = self.load(value)
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise self._error(value) from None
        if not self.accepts(loaded):
            raise self._error(value)
        return loaded

    def _error(self, value: object) -> ConstraintError:
        return ConstraintError(f"expected {self.expected(value)}, got {shown(value)}")


def constrained(
    constraint: Constraint, *, default: Any = attrs.NOTHING, name: str | None = None, shown: bool = True
) -> Any:
    """Make an attrs field that takes what the constraint says.

    `name` is its name in JSON, if unusual; a secret is not `shown` in the record's repr.
    """

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        try:
            constraint.check(value)
        except ConstraintError as exc:
            raise ConstraintError(f"{attribute.name}: {exc}") from None

    metadata = {_CONSTRAINT: constraint, JSON_NAME: name}
    return attrs.field(validator=validate, default=default, metadata=metadata, repr=shown)


def constraint_of(attribute: attrs.Attribute[Any]) -> Constraint | None:
    """Return the constraint of a field, if it has one."""
    found = attribute.metadata.get(_CONSTRAINT)
    return found if isinstance(found, Constraint) else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: object) -> object:
    # JSON Schema counts 1.0 as an integer, and some encoders write one so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def integer(minimum: int, maximum: int = MAX_INTEGER) -> Constraint:
    """An integer within bounds."""

    def expected(value: object) -> str:
        above = isinstance(value, (int, float)) and value > maximum
        return f"an integer ≤ {maximum}" if above else f"an integer ≥ {minimum}"

    return Constraint(
        expected=expected,
        schema={"type": "integer", "minimum": minimum, "maximum": maximum},
        accepts=lambda value: _is_int(value) and minimum <= value <= maximum,
        load=_whole,
    )


def counter(maximum: int = 2**64 - 1) -> Constraint:
    """A 64-bit count, written as a decimal string since PHP and JavaScript lose precision."""

    def load(value: object) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"0|[1-9][0-9]{0,19}", value):
            raise ConstraintError("not a decimal string")
        return int(value)

    return Constraint(
        expected=lambda _: "a decimal string",
        schema={"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
        accepts=lambda value: _is_int(value) and 0 <= value <= maximum,
        load=load,
        dump=str,
    )


def text(*, pattern: str = r".*", maximum: int = 256, expected: str = "a string") -> Constraint:
    """A string that matches a pattern as a whole."""
    compiled = re.compile(pattern, re.ASCII)
    return Constraint(
        expected=lambda _: f"{expected} of at most {maximum} characters",
        schema={"type": "string", "maxLength": maximum, "pattern": f"^({pattern})$"},
        accepts=lambda value: (
            isinstance(value, str) and len(value) <= maximum and compiled.fullmatch(value) is not None
        ),
    )


def lower_hex(length_bytes: int) -> Constraint:
    """Bytes of a fixed length in lower-case hexadecimal."""
    digits = 2 * length_bytes
    compiled = re.compile(f"[0-9a-f]{{{digits}}}")
    return Constraint(
        expected=lambda _: f"{digits} lower-case hexadecimal digits",
        schema={"type": "string", "pattern": f"^[0-9a-f]{{{digits}}}$"},
        accepts=lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None,
    )


def digest() -> Constraint:
    """A SHA-256 digest in hexadecimal."""
    return lower_hex(32)


def one_of(*names: str) -> Constraint:
    """One of a few names."""
    return Constraint(
        expected=lambda _: " or ".join(f'"{name}"' for name in names),
        schema={"enum": list(names)},
        accepts=lambda value: isinstance(value, str) and value in names,
    )


def names_of(*names: str) -> Constraint:
    """A list of distinct names out of a few, in any order; held as a sorted tuple."""

    def load(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise ConstraintError("not a list of names")
        if len(set(value)) != len(value):
            raise ConstraintError("not distinct")
        return tuple(sorted(value))

    return Constraint(
        expected=lambda _: "a list of distinct names out of " + ", ".join(names),
        schema={"type": "array", "items": {"enum": list(names)}, "uniqueItems": True},
        accepts=lambda value: (
            isinstance(value, tuple)
            and list(value) == sorted(set(value))
            and all(name in names for name in value)
        ),
        load=load,
        dump=list,
    )


def names(pattern: str, maximum: int = 64) -> Constraint:
    """A list of names that match a pattern, in order; held as a tuple."""
    compiled = re.compile(pattern, re.ASCII)

    def accepts(value: object) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(name, str) and len(name) <= maximum and compiled.fullmatch(name) for name in value
        )

    return Constraint(
        expected=lambda _: "a list of names",
        schema={
            "type": "array",
            "items": {"type": "string", "maxLength": maximum, "pattern": f"^({pattern})$"},
        },
        accepts=accepts,
        load=lambda value: tuple(value) if isinstance(value, list) else value,
        dump=list,
    )


def raw_bytes(length: int) -> Constraint:
    """A fixed number of bytes. Not for JSON."""
    return Constraint(
        expected=lambda _: f"{length} bytes",
        schema={},
        accepts=lambda value: isinstance(value, bytes) and len(value) == length,
    )


def boolean() -> Constraint:
    """true or false."""
    return Constraint(
        expected=lambda _: "true or false",
        schema={"type": "boolean"},
        accepts=lambda value: isinstance(value, bool),
    )


_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"


def timestamp() -> Constraint:
    """A moment in UTC, RFC 3339 with `Z`."""

    def load(value: object) -> datetime:
        if not isinstance(value, str) or not re.fullmatch(_TIME, value, re.ASCII):
            raise ConstraintError("not a timestamp")
        seconds, _, fraction = value[:-1].partition(".")
        moment = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S")
        return moment.replace(microsecond=int(fraction.ljust(6, "0") or 0), tzinfo=timezone.utc)

    return Constraint(
        expected=lambda _: "an RFC 3339 time that ends in Z",
        schema={"type": "string", "format": "date-time", "pattern": f"^{_TIME}$"},
        accepts=lambda value: (
            isinstance(value, datetime) and value.utcoffset() == timezone.utc.utcoffset(None)
        ),
        load=load,
        dump=lambda value: value.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    )
