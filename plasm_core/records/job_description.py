"""The description of one job of a batch: a line of a `--jobs` file."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import attrs

from plasm_core.records.converter import parse_json, structure
from plasm_core.records.fields import (
    Constraint,
    ConstraintError,
    constrained,
    integer,
    lower_hex,
    names,
    names_of,
)
from plasm_core.records.manifest import CAPABILITIES, Limits

MAX_DESCRIPTION_BYTES = 8 << 20
_MAX_TEXT = 1 << 20


def _optional(constraint: Constraint) -> Any:
    """Make a field that may be left out."""
    return constrained(
        attrs.evolve(
            constraint,
            accepts=lambda value: value is None or constraint.accepts(value),
            load=lambda value: None if value is None else constraint.load(value),
            dump=lambda value: None if value is None else constraint.dump(value),
        ),
        default=None,
    )


def _free_text(maximum: int, expected: str) -> Constraint:
    return Constraint(
        expected=lambda _: f"{expected} of at most {maximum} characters",
        schema={"type": "string", "maxLength": maximum},
        accepts=lambda value: isinstance(value, str) and len(value) <= maximum,
    )


@attrs.frozen(kw_only=True)
class JobDescription:
    """One job of a batch. A missing member has the value of the command line, which is for the whole batch.

    `args`: the arguments; `env`: variables as NAME=VALUE; `stdin`: the standard input as text, `stdin_base64` as
    bytes, `stdin_file` as the path of a file; at most one of the three. `name`: the job's name in messages.
    """

    name: str | None = _optional(_free_text(256, "a name"))
    args: tuple[str, ...] = constrained(names(r"[^\x00]*", _MAX_TEXT, what="strings without NUL"), default=())
    env: tuple[str, ...] = constrained(names(r"[^\x00=]+=[^\x00]*", _MAX_TEXT, what="NAME=VALUE"), default=())
    stdin: str | None = _optional(_free_text(MAX_DESCRIPTION_BYTES, "a text"))
    stdin_base64: str | None = _optional(_free_text(2 * MAX_DESCRIPTION_BYTES, "base64"))
    stdin_file: str | None = _optional(_free_text(4096, "a path"))
    gas: int | None = _optional(integer(1))
    memory_bytes: int | None = _optional(integer(65_536, 2**32))
    output_bytes: int | None = _optional(integer(0, 2**40))
    wall_time_s: int | None = _optional(integer(1, 86_400))
    seed: str | None = _optional(lower_hex(32))
    grants: tuple[str, ...] | None = _optional(names_of(*CAPABILITIES))

    def __attrs_post_init__(self) -> None:
        if sum(item is not None for item in (self.stdin, self.stdin_base64, self.stdin_file)) > 1:
            raise ConstraintError("stdin, stdin_base64 and stdin_file exclude each other")
        if self.stdin_base64 is not None:
            self.stdin_bytes()

    @classmethod
    def from_json(cls, data: bytes) -> JobDescription:
        """Parse a description. Raises: `InvalidRecordError`, naming every problem with its path."""
        value = parse_json(data, record="job description", maximum=MAX_DESCRIPTION_BYTES)
        return structure(value, cls, record="job description")

    def stdin_bytes(self) -> bytes | None:
        """Return the standard input, None if it is a file's or not given. Raises: `ConstraintError`."""
        if self.stdin_base64 is not None:
            try:
                return base64.b64decode(self.stdin_base64, validate=True)
            except (binascii.Error, ValueError):
                raise ConstraintError("stdin_base64: expected base64") from None
        return None if self.stdin is None else self.stdin.encode()

    def limits(self, default: Limits) -> Limits:
        """Return the limits, with those of the batch where this has none."""
        return Limits(
            gas=default.gas if self.gas is None else self.gas,
            memory_bytes=default.memory_bytes if self.memory_bytes is None else self.memory_bytes,
            output_bytes=default.output_bytes if self.output_bytes is None else self.output_bytes,
        )
