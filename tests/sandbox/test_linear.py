"""Reading a module takes time in proportion to its size: nothing is gone through again for each of many things."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from plasm_core.sandbox import constant_expression
from plasm_core.sandbox.binary import Reader, signed
from plasm_core.sandbox.constant_expression import read_constant
from plasm_core.sandbox.module import Import
from plasm_core.sandbox.rules import violations
from plasm_core.sandbox.sections import read_module
from tests.sandbox.modules import wat

IMPORTS = "".join(
    f'(import "wasi_snapshot_preview1" "{name}" (func (result i32)))' for name in ("sched_yield",) * 50
)


class Unreadable(list[Import]):
    """A list whose items nobody may go through."""

    def __iter__(self) -> Iterator[Import]:
        raise AssertionError("the imports were gone through")


def test_a_functions_type_is_found_without_going_through_the_imports() -> None:
    """It is asked for at each call."""
    read = read_module(wat(f"(module {IMPORTS} …)"))
    module = attrs.evolve(read, imports=Unreadable(read.imports))

    assert str(module.function_type(0)) == str(module.function_type(49)) == "() → (i32)"
    assert str(module.function_type(50)) == "() → ()"


@pytest.mark.parametrize(
    ("constant", "add", "multiply", "bits"), [(0x42, 0x7C, 0x7E, 64), (0x41, 0x6A, 0x6C, 32)]
)
def test_numbers_do_not_grow_with_a_constant_expression(
    monkeypatch: pytest.MonkeyPatch, constant: int, add: int, multiply: int, bits: int
) -> None:
    largest = 0

    def watched(operation: int) -> None:
        original = constant_expression._EXTENDED[operation]

        def run(left: int, right: int) -> int:
            nonlocal largest
            largest = max(largest, abs(left), abs(right))
            return original(left, right)

        monkeypatch.setitem(constant_expression._EXTENDED, operation, run)

    for operation in (add, multiply):
        watched(operation)
    value = -(1 << (bits - 1)) + 12_345
    push = bytes([constant]) + signed(value)
    code = push + (push + bytes([multiply]) + push + bytes([add])) * 200 + b"\x0b"
    expected = value
    for _ in range(200):
        expected = expected * value + value

    found = read_constant(read_module(wat("(module …)")), Reader(code))

    assert found == expected % (1 << 32)
    assert largest < 1 << 64


def test_the_problems_of_a_module_are_told_one_after_the_other() -> None:
    """Only so many are shown: the errors of a million imports are never all made."""
    module = read_module(wat("(module " + '(import "env" "x" (func))' * 1_000 + "…)"))
    taken = violations(module)

    assert next(taken).reason == "forbidden_import"
    module.imports.clear()
    assert list(taken) == []
