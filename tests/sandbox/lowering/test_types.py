"""Function types without f32: equal ones stay equal, different ones stay different."""

from __future__ import annotations

import itertools

from plasm_core.sandbox.lowering.types import F32, LoweredType, lowered_types
from plasm_core.sandbox.metering.module import FunctionType

_VALUE_TYPES = b"\x7f\x7e\x7d\x7c"


def test_types_that_differ_only_in_f32_still_differ() -> None:
    some = [bytes(params) for length in range(4) for params in itertools.product(_VALUE_TYPES, repeat=length)]
    types = [FunctionType(params, results) for params in some for results in (b"", b"\x7f", b"\x7d")]

    lowered = lowered_types(types)

    pairs = {(item.params, item.results) for item in lowered}
    assert len(pairs) == len(types)
    assert not any(F32 in params + results for params, results in pairs)


def test_equal_types_become_equal_ones() -> None:
    types = [FunctionType(b"\x7f", b""), FunctionType(b"\x7d", b""), FunctionType(b"\x7d", b"")]

    assert lowered_types(types) == [
        LoweredType(b"\x7f", b""),
        LoweredType(b"\x7f\x7f", b"", added=1),
        LoweredType(b"\x7f\x7f", b"", added=1),
    ]


def test_a_type_without_f32_is_kept_in_every_position() -> None:
    types = [FunctionType(b"\x7d", b""), FunctionType(b"\x7f\x7f", b""), FunctionType(b"\x7f", b"")]

    lowered = lowered_types(types)

    assert lowered[1:] == [LoweredType(b"\x7f\x7f", b""), LoweredType(b"\x7f", b"")]
    assert lowered[0] == LoweredType(b"\x7f\x7f\x7f", b"", added=2)
