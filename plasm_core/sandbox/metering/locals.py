"""A function's locals: its parameters, those that it declares, and those that the rewriter adds."""

from __future__ import annotations

import bisect
import itertools

from plasm_core.sandbox.metering.binary import Reader, malformed, unsigned, vector
from plasm_core.sandbox.metering.module import Module

_MAX_DECLARED = 50_000  # WebAssembly JavaScript interface, implementation limits
_MOST_LOCALS = _MAX_DECLARED - 16  # beyond, those that the rewriter adds could be too many
_SAVED_STACK, _GAS = 0x100, 0x101  # no value types
_EXPANDED = 4
"""Locals for each byte of a function, up to which a byte is kept for each. Reading a byte is faster than a search."""


class RunsOfTypes:
    """The types of a function's locals by index, run-length encoded: a module declares 50,000 locals in four bytes."""

    def __init__(self, params: bytes, runs: list[tuple[int, int]]) -> None:
        self._params = params
        self._ends = list(itertools.accumulate((count for count, _ in runs), initial=len(params)))[1:]
        self._types = bytes(value_type for _, value_type in runs)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else len(self._params)

    def __getitem__(self, index: int) -> int:
        if index < len(self._params):
            return self._params[index]
        return self._types[bisect.bisect_right(self._ends, index)]

    def translate(self, table: bytes) -> RunsOfTypes:
        """Map each type by a table, as `bytes.translate` does."""
        mapped = object.__new__(RunsOfTypes)
        mapped._params, mapped._ends = self._params.translate(table), self._ends
        mapped._types = self._types.translate(table)
        return mapped


class Locals:
    """One function's locals. `types`: those of its parameters and declared locals, by index."""

    def __init__(self, types: bytes | RunsOfTypes, declared: list[bytes]) -> None:
        self.types = types
        self._declared = declared  # in runs of a type, encoded
        self._scratch: dict[int, bytes] = {}

    def scratch(self, value_type: int) -> bytes:
        """Return the encoded index of an additional local of a type, for the rewriter; add it at the first call."""
        return self._added(value_type, value_type)

    def saved_stack(self) -> bytes:
        """Return the encoded index of the local that keeps the stack's height for exception handlers."""
        return self._added(_SAVED_STACK, 0x7F)

    def gas(self) -> bytes | None:
        """Return the same of the local that has the gas counter's value, None if the function has no room for it."""
        return None if len(self.types) > _MOST_LOCALS else self._added(_GAS, 0x7E)

    def _added(self, use: int, value_type: int) -> bytes:
        if use not in self._scratch:
            self._scratch[use] = unsigned(len(self.types) + len(self._scratch))
            self._declared.append(b"\x01" + bytes((value_type,)))
        return self._scratch[use]

    def encoded(self) -> bytes:
        """Return the encoded declarations, which precede a function's code."""
        return vector(self._declared)


def read_locals(module: Module, params: bytes, reader: Reader) -> Locals:
    """Read the declarations of a function's locals, and record their features.

    Raises: `BadModuleError`.
    """
    size_bytes = reader.end - reader.position
    total = 0
    runs = []
    declared = []
    for _ in range(reader.count()):
        count, value_type = reader.unsigned(), reader.byte()
        module.note_value_type(value_type)
        declared.append(unsigned(count) + bytes((value_type,)))
        total += count
        if total > _MAX_DECLARED:
            raise malformed("a function has too many locals")
        runs.append((count, value_type))
    if total > _EXPANDED * size_bytes:
        return Locals(RunsOfTypes(params, runs), declared)
    return Locals(params + b"".join([bytes((value_type,)) * count for count, value_type in runs]), declared)
