"""Function types without f32: a value of that type is carried as the i32 of its bits.

Types that differed must still differ, or an indirect call to a function of the wrong type would not trap: the ones
that would become equal to another get further parameters, which every caller passes as 0.
"""

from __future__ import annotations

import attrs

from plasm_core.sandbox.metering.module import FunctionType

I32, I64, F32 = 0x7F, 0x7E, 0x7D
_BITS = bytes(I32 if value_type == F32 else value_type for value_type in range(256))


@attrs.frozen
class LoweredType:
    """A function's type, and how many of its parameters were added to the original's."""

    params: bytes
    results: bytes
    added: int = 0


def without_f32(value_types: bytes) -> bytes:
    """Return value types with i32 in place of f32."""
    return value_types.translate(_BITS)


def lowered_types(types: list[FunctionType]) -> list[LoweredType]:
    """Return what each type becomes. Equal types become equal ones, and different ones stay different."""
    distinct = dict.fromkeys((item.params, item.results) for item in types)
    taken = {pair for pair in distinct if F32 not in pair[0] + pair[1]}
    made = {pair: LoweredType(*pair) for pair in taken}
    for params, results in distinct:
        if (params, results) in made:
            continue
        added = 0
        pair = without_f32(params), without_f32(results)
        while pair in taken:
            pair = pair[0] + bytes((I32,)), pair[1]
            added += 1
        taken.add(pair)
        made[params, results] = LoweredType(*pair, added)
    return [made[item.params, item.results] for item in types]
