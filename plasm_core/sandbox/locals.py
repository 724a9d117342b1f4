"""A function's locals: its parameters, what it declares, and what the rewriter adds."""

from __future__ import annotations

from plasm_core.sandbox.binary import Reader, malformed, unsigned, vector
from plasm_core.sandbox.module import Module

_MAX_DECLARED = 50_000  # WebAssembly JavaScript interface, implementation limits


class Locals:
    """One function's locals. `types` has those of parameters and declared locals, by index."""

    def __init__(self, types: bytes, declared: list[bytes]) -> None:
        self.types = types
        self._declared = declared  # in runs of a type, encoded
        self._scratch: dict[int, bytes] = {}

    def scratch(self, value_type: int) -> bytes:
        """Return the encoded index of a local of our own of a type, made when first needed."""
        if value_type not in self._scratch:
            self._scratch[value_type] = unsigned(len(self.types) + len(self._scratch))
            self._declared.append(b"\x01" + bytes((value_type,)))
        return self._scratch[value_type]

    def encoded(self) -> bytes:
        """Return the declarations, as they stand ahead of a function's code."""
        return vector(self._declared)


def read_locals(module: Module, params: bytes, reader: Reader) -> Locals:
    """Read what a function with these parameters declares, and note the features it uses.

    Raises: `BadModuleError`.
    """
    types = bytearray(params)
    declared = []
    for _ in range(reader.count()):
        count, value_type = reader.unsigned(), reader.byte()
        module.note_value_type(value_type)
        declared.append(unsigned(count) + bytes((value_type,)))
        if len(types) - len(params) + count > _MAX_DECLARED:
            raise malformed("a function has too many locals")
        types += bytes((value_type,)) * count
    return Locals(bytes(types), declared)
