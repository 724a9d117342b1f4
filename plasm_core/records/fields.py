"""Constraints on a record's fields: checked on construction and on parsing, and shown in the JSON Schema.

One constraint serves all three, so that the code and the published schema cannot drift apart.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import attrs

MAX_INTEGER = 2**53 - 1
"""The greatest integer that every JSON implementation reads alike (RFC 7493, section 2.2)."""

_CONSTRAINT = "plasm.constraint"
JSON_NAME = "plasm.json_name"
OPTIONAL_RECORD = "plasm.optional_record"
OPTIONAL = "plasm.optional"


class ConstraintError(ValueError):
    """A value violates the constraint of its field."""


class WrittenInteger(int):
    """An integer from a variable or `--set`, with its text: a field for strings takes the text, as of a user's number."""

    text: str

    @classmethod
    def read(cls, text: str, value: int) -> WrittenInteger:
        """Return a value with the text that it was read from."""
        made = cls(value)
        made.text = text
        return made


def as_text(value: object) -> object:
    """Return the value for a string field: the text of a `WrittenInteger`, any other value unchanged."""
    return value.text if isinstance(value, WrittenInteger) else value


def shown(value: object) -> str:
    """Return a wrong value for an error message: short, on one line, strings in double quotes."""
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


def as_is(value: Any) -> Any:
    """Return a value whose form in JSON is the value itself."""
    return value


@attrs.frozen(kw_only=True)
class Constraint:
    """The values that a field accepts, and their JSON form.

    `expected` completes "expected …" in errors. `accepts` tests a value. `load` and `dump` convert from and to the
    JSON form.
    """

    expected: Callable[[Any], str]
    schema: dict[str, Any]
    accepts: Callable[[Any], bool]
    load: Callable[[Any], Any] = as_is
    dump: Callable[[Any], Any] = as_is

    @property
    def loads_as_is(self) -> bool:
        """Whether the JSON form is the value itself."""
        return self.load is as_is

    @property
    def dumps_as_is(self) -> bool:
        """Whether the value itself is its JSON form."""
        return self.dump is as_is

    def structure(self, value: object) -> Any:
        """Convert a value from JSON. Raises: `ConstraintError`."""
        try:
            loaded = self.load(value)
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise ConstraintError(self.problem(value)) from None
        if not self.accepts(loaded):
            raise ConstraintError(self.problem(value))
        return loaded

    def problem(self, value: object) -> str:
        """Return what is wrong with a value that the field does not accept."""
        return f"expected {self.expected(value)}, got {shown(value)}"


def constrained(
    constraint: Constraint, *, default: Any = attrs.NOTHING, name: str | None = None, shown: bool = True
) -> Any:
    """Return an attrs field with a constraint.

    `name`: its name in JSON, if it differs. `shown` False: the record's repr leaves it out, for a secret.
    """

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not accepts(value):
            raise ConstraintError(f"{attribute.name}: {constraint.problem(value)}")

    accepts = constraint.accepts
    metadata = {_CONSTRAINT: constraint, JSON_NAME: name}
    return attrs.field(validator=validate, default=default, metadata=metadata, repr=shown)


def optional(constraint: Constraint) -> Any:
    """Make an attrs field with a constraint that may be left out: it is None then, and in JSON not there."""

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and not accepts(value):
            raise ConstraintError(f"{attribute.name}: {constraint.problem(value)}")

    accepts = constraint.accepts
    metadata = {_CONSTRAINT: constraint, OPTIONAL: True}
    return attrs.field(validator=validate, default=None, metadata=metadata)


def optional_record() -> Any:
    """Make an attrs field for a record that may be left out: it is None then, and in JSON not there."""
    return attrs.field(default=None, metadata={OPTIONAL_RECORD: True})


def constraint_of(attribute: attrs.Attribute[Any]) -> Constraint | None:
    """Return a field's constraint, None if it has none."""
    found = attribute.metadata.get(_CONSTRAINT)
    return found if isinstance(found, Constraint) else None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _whole(value: object) -> object:
    # JSON Schema counts 1.0 as an integer, and some encoders write one so.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def integer(minimum: int, maximum: int = MAX_INTEGER) -> Constraint:
    """Return the constraint for an integer within bounds."""

    def expected(value: object) -> str:
        above = isinstance(value, (int, float)) and value > maximum
        return f"an integer ≤ {maximum}" if above else f"an integer ≥ {minimum}"

    return Constraint(
        expected=expected,
        schema={"type": "integer", "minimum": minimum, "maximum": maximum},
        accepts=lambda value: (type(value) is int or _is_int(value)) and minimum <= value <= maximum,
        load=lambda value: value if type(value) is int else _whole(value),
    )


def number(minimum: float, maximum: float) -> Constraint:
    """Return the constraint for a number within bounds, stored as a float. An integer is one too."""
    return Constraint(
        expected=lambda _: f"a number from {minimum:g} to {maximum:g}",
        schema={"type": "number", "minimum": minimum, "maximum": maximum},
        accepts=lambda value: isinstance(value, float) and minimum <= value <= maximum,
        load=lambda value: float(value) if _is_int(value) else value,
    )


_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")


def counter(maximum: int = 2**64 - 1) -> Constraint:
    """Return the constraint for a 64-bit count. Its JSON form is a decimal string:

    PHP and JavaScript lose precision.
    """

    def load(value: object) -> int:
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            raise ConstraintError("not a decimal string")
        return int(value)

    return Constraint(
        expected=lambda _: "a decimal string",
        schema={"type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
        accepts=lambda value: (type(value) is int or _is_int(value)) and 0 <= value <= maximum,
        load=load,
        dump=str,
    )


def text(*, pattern: str = r".*", maximum: int = 256, expected: str = "a string") -> Constraint:
    """Return the constraint for a string of at most `maximum` characters that matches the whole `pattern`."""
    compiled = re.compile(pattern, re.ASCII)
    return Constraint(
        expected=lambda _: f"{expected} of at most {maximum} characters",
        schema={"type": "string", "maxLength": maximum, "pattern": f"^({pattern})$"},
        accepts=lambda value: (
            isinstance(value, str) and len(value) <= maximum and compiled.fullmatch(value) is not None
        ),
        load=as_text,
    )


def lower_hex(length_bytes: int) -> Constraint:
    """Return the constraint for `length` bytes in lower-case hexadecimal."""
    digits = 2 * length_bytes
    compiled = re.compile(f"[0-9a-f]{{{digits}}}")
    return Constraint(
        expected=lambda _: f"{digits} lower-case hexadecimal digits",
        schema={"type": "string", "pattern": f"^[0-9a-f]{{{digits}}}$"},
        accepts=lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None,
    )


def digest() -> Constraint:
    """Return the constraint for a SHA-256 digest in lower-case hexadecimal."""
    return lower_hex(32)


def one_of(*names: str) -> Constraint:
    """Return the constraint for one of the given strings."""
    return Constraint(
        expected=lambda _: " or ".join(f'"{name}"' for name in names),
        schema={"enum": list(names)},
        accepts=lambda value: isinstance(value, str) and value in names,
    )


def member_of(names: type[enum.Enum]) -> Constraint:
    """Return the constraint for a member of an enumeration of strings."""
    constraint = one_of(*(member.value for member in names))
    return Constraint(
        expected=constraint.expected,
        schema=constraint.schema,
        accepts=lambda value: isinstance(value, names),
        load=lambda value: names(value),
        dump=lambda value: value.value,
    )


def names_of(*names: str) -> Constraint:
    """Return the constraint for a list of distinct strings out of those given, in any order; stored as a sorted tuple."""

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


def names(pattern: str, maximum: int = 64, *, what: str = "names") -> Constraint:
    """Return the constraint for a list of strings that match a pattern, in order; stored as a tuple.

    `maximum`: the most characters of each. `what` completes "expected a list of …" in errors.
    """
    compiled = re.compile(pattern, re.ASCII)

    def accepts(value: object) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(name, str) and len(name) <= maximum and compiled.fullmatch(name) for name in value
        )

    return Constraint(
        expected=lambda _: f"a list of {what}",
        schema={
            "type": "array",
            "items": {"type": "string", "maxLength": maximum, "pattern": f"^({pattern})$"},
        },
        accepts=accepts,
        load=lambda value: tuple(value) if isinstance(value, list) else value,
        dump=list,
    )


def raw_bytes(length: int) -> Constraint:
    """Return the constraint for a fixed number of bytes. It has no JSON form."""
    return Constraint(
        expected=lambda _: f"{length} bytes",
        schema={},
        accepts=lambda value: isinstance(value, bytes) and len(value) == length,
    )


def boolean() -> Constraint:
    """Return the constraint for true or false."""
    return Constraint(
        expected=lambda _: "true or false",
        schema={"type": "boolean"},
        accepts=lambda value: isinstance(value, bool),
    )


_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
_IS_TIME = re.compile(_TIME, re.ASCII)


def timestamp() -> Constraint:
    """Return the constraint for a moment in UTC: RFC 3339 with `Z`."""

    def load(value: object) -> datetime:
        if not isinstance(value, str) or not _IS_TIME.fullmatch(value):
            raise ConstraintError("not a timestamp")
        seconds, _, fraction = value[:-1].partition(".")
        # Python 3.10 reads fractions of three or six digits only.
        return datetime.fromisoformat(f"{seconds}.{fraction:0<6}+00:00")

    return Constraint(
        expected=lambda _: "an RFC 3339 time that ends in Z",
        schema={"type": "string", "format": "date-time", "pattern": f"^{_TIME}$"},
        accepts=lambda value: (
            isinstance(value, datetime)
            and (value.tzinfo is timezone.utc or value.utcoffset() == timezone.utc.utcoffset(None))
        ),
        load=load,
        dump=lambda value: value.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    )
