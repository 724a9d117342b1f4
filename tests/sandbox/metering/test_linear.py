"""Reading a module takes time in proportion to its size: nothing is gone through again for each of many things."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import attrs
import pytest

from plasm_core.sandbox.admission.rules import violations
from plasm_core.sandbox.metering import constant_expression
from plasm_core.sandbox.metering.binary import Reader, signed, unsigned, vector
from plasm_core.sandbox.metering.constant_expression import read_constant
from plasm_core.sandbox.metering.local_reads import LocalReads
from plasm_core.sandbox.metering.locals import read_locals
from plasm_core.sandbox.metering.module import Import
from plasm_core.sandbox.metering.sections import read_module
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


def test_the_problems_of_a_module_are_reported_in_sequence() -> None:
    """Only so many are shown: the errors of a million imports are never all made."""
    module = read_module(wat("(module " + '(import "env" "x" (func))' * 1_000 + "…)"))
    taken = violations(module)

    assert next(taken).reason == "forbidden_import"
    module.imports.clear()
    assert list(taken) == []


def _declared(*runs: tuple[int, int]) -> Reader:
    return Reader(vector([unsigned(count) + bytes([value_type]) for count, value_type in runs]) + b"\x0b")


def test_locals_take_no_more_room_than_their_declaration() -> None:
    """Five bytes of code may declare 50,000, in each of a million functions."""
    module = read_module(wat("(module …)"))
    tracemalloc.start()
    try:
        declared = read_locals(module, b"", _declared((50_000, 0x7E)))
        reads = [LocalReads(declared.types, copies=copies) for copies in (False, True)]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(declared.types) == 50_000
    assert all(each.counts[index] for each in reads for index in (0, 49_999))
    assert peak_bytes < 10_000


def test_locals_have_the_types_of_their_runs() -> None:
    rng = random.Random(1)
    module = read_module(wat("(module …)"))
    for _ in range(200):
        params = rng.choices(b"\x7f\x7e\x7d\x7c", k=rng.randrange(4))
        runs = [
            (rng.choice((0, 0, 1, 2, 300)), rng.choice(b"\x7f\x7e\x7d\x7c")) for _ in range(rng.randrange(6))
        ]
        expected = [*params, *(value_type for count, value_type in runs for _ in range(count))]

        types = read_locals(module, bytes(params), _declared(*runs)).types

        assert [types[index] for index in range(len(types))] == expected
        for copies, counted in ((False, b"\x7e\x7c"), (True, b"\x7f\x7e\x7d\x7c")):
            counts = LocalReads(types, copies=copies).counts
            assert [bool(counts[index]) for index in range(len(types))] == [
                value_type in counted for value_type in expected
            ]
        with pytest.raises(IndexError):
            types[len(expected)]
