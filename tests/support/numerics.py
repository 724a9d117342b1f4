"""The numeric instructions of WebAssembly on bit patterns, with one NaN: the canonical one, sign 0.

Source: WebAssembly core specification, chapter "Execution", section "Numerics".
An integer is its unsigned value, a float the integer of its bits; so what works on bits keeps them.
"""

import math
import struct
from collections.abc import Callable
from fractions import Fraction

CANONICAL_NAN = {32: 0x7FC00000, 64: 0x7FF8000000000000}
_FORMAT = {32: ("<I", "<f"), 64: ("<Q", "<d")}
_MANTISSA = {32: 24, 64: 53}


class NumericTrap(Exception):
    """Carries the kind of the trap."""


def to_float(bits: int, n: int) -> float:
    as_int, as_float = _FORMAT[n]
    value: float = struct.unpack(as_float, struct.pack(as_int, bits))[0]
    return value


def to_bits(value: float, n: int) -> int:
    """Round to the nearest float of `n` bits, ties to even; any NaN becomes the canonical one."""
    if math.isnan(value):
        return CANONICAL_NAN[n]
    as_int, as_float = _FORMAT[n]
    try:
        packed = struct.pack(as_float, value)
    except OverflowError:
        packed = struct.pack(as_float, math.copysign(math.inf, value))
    bits: int = struct.unpack(as_int, packed)[0]
    return bits


def signed(value: int, n: int) -> int:
    return value - (1 << n) if value >> (n - 1) else value


def _extend(value: int, source: int, n: int) -> int:
    return signed(value % (1 << source), source) % (1 << n)


def _divide(a: int, b: int, n: int, is_signed: bool) -> int:
    if b == 0:
        raise NumericTrap("integer_division_by_zero")
    if not is_signed:
        return a // b
    x, y = signed(a, n), signed(b, n)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    if quotient == 1 << (n - 1):
        raise NumericTrap("integer_overflow")
    return quotient


def _remainder(a: int, b: int, n: int, is_signed: bool) -> int:
    if b == 0:
        raise NumericTrap("integer_division_by_zero")
    if not is_signed:
        return a % b
    x, y = signed(a, n), signed(b, n)
    return abs(x) % abs(y) * (-1 if x < 0 else 1)


def _rotate(value: int, by: int, n: int) -> int:
    by %= n
    return value << by | value >> (n - by)


def _count_trailing_zeros(value: int, n: int) -> int:
    return (value & -value).bit_length() - 1 if value else n


def _float_divide(a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a) or math.isnan(b):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _minimum(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return math.nan
    if a == b:
        return a if math.copysign(1.0, a) < 0 else b
    return min(a, b)


def _square_root(a: float) -> float:
    return math.nan if a < 0 else math.sqrt(a)


def _integral(rounding: Callable[[float], int]) -> Callable[[float], float]:
    def apply(a: float) -> float:
        return math.copysign(float(rounding(a)), a) if math.isfinite(a) else a

    return apply


def _truncate(a: float, n: int, is_signed: bool, saturate: bool) -> int:
    low, high = (-(1 << (n - 1)), (1 << (n - 1)) - 1) if is_signed else (0, (1 << n) - 1)
    if math.isnan(a):
        if not saturate:
            raise NumericTrap("bad_conversion_to_integer")
        return 0
    whole = math.trunc(a) if math.isfinite(a) else int(math.copysign(1 << 65, a))
    if not low <= whole <= high and not saturate:
        raise NumericTrap("integer_overflow")
    return max(low, min(whole, high))


def _from_integer(value: int, n: int) -> int:
    """Round an integer to a float of `n` bits in one step, ties to even."""
    excess = max(abs(value).bit_length() - _MANTISSA[n], 0)
    return to_bits(float(round(Fraction(value, 1 << excess)) << excess), n)


def _integer_operations(n: int) -> dict[str, Callable[..., int]]:
    def s(value: int) -> int:
        return signed(value, n)

    return {
        "eqz": lambda a: a == 0,
        "eq": lambda a, b: a == b,
        "ne": lambda a, b: a != b,
        "lt_s": lambda a, b: s(a) < s(b),
        "lt_u": lambda a, b: a < b,
        "gt_s": lambda a, b: s(a) > s(b),
        "gt_u": lambda a, b: a > b,
        "le_s": lambda a, b: s(a) <= s(b),
        "le_u": lambda a, b: a <= b,
        "ge_s": lambda a, b: s(a) >= s(b),
        "ge_u": lambda a, b: a >= b,
        "clz": lambda a: n - a.bit_length(),
        "ctz": lambda a: _count_trailing_zeros(a, n),
        "popcnt": lambda a: bin(a).count("1"),
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div_s": lambda a, b: _divide(a, b, n, True),
        "div_u": lambda a, b: _divide(a, b, n, False),
        "rem_s": lambda a, b: _remainder(a, b, n, True),
        "rem_u": lambda a, b: _remainder(a, b, n, False),
        "and": lambda a, b: a & b,
        "or": lambda a, b: a | b,
        "xor": lambda a, b: a ^ b,
        "shl": lambda a, b: a << b % n,
        "shr_s": lambda a, b: s(a) >> b % n,
        "shr_u": lambda a, b: a >> b % n,
        "rotl": lambda a, b: _rotate(a, b, n),
        "rotr": lambda a, b: _rotate(a, n - b % n, n),
        "extend8_s": lambda a: _extend(a, 8, n),
        "extend16_s": lambda a: _extend(a, 16, n),
        "extend32_s": lambda a: _extend(a, 32, n),
        "extend_i32_s": lambda a: _extend(a, 32, n),
        "extend_i32_u": lambda a: a,
        "wrap_i64": lambda a: a,
        "reinterpret_f32": lambda a: a,
        "reinterpret_f64": lambda a: a,
    }


def _truncations(n: int) -> dict[str, Callable[..., int]]:
    def truncation(source: int, is_signed: bool, saturate: bool) -> Callable[[int], int]:
        return lambda a: _truncate(to_float(a, source), n, is_signed, saturate)

    return {
        f"trunc_{'sat_' * saturate}f{source}_{'s' if is_signed else 'u'}": truncation(
            source, is_signed, saturate
        )
        for source in (32, 64)
        for is_signed in (False, True)
        for saturate in (False, True)
    }


def _float_operations(n: int) -> dict[str, Callable[..., int]]:
    sign = 1 << (n - 1)

    def arithmetic(operation: Callable[..., float]) -> Callable[..., int]:
        return lambda *operands: to_bits(operation(*(to_float(bits, n) for bits in operands)), n)

    def comparison(operation: Callable[[float, float], bool]) -> Callable[..., int]:
        return lambda a, b: operation(to_float(a, n), to_float(b, n))

    return {
        "eq": comparison(lambda a, b: a == b),
        "ne": comparison(lambda a, b: a != b),
        "lt": comparison(lambda a, b: a < b),
        "gt": comparison(lambda a, b: a > b),
        "le": comparison(lambda a, b: a <= b),
        "ge": comparison(lambda a, b: a >= b),
        "abs": lambda a: a & ~sign,
        "neg": lambda a: a ^ sign,
        "copysign": lambda a, b: a & ~sign | b & sign,
        "ceil": arithmetic(_integral(math.ceil)),
        "floor": arithmetic(_integral(math.floor)),
        "trunc": arithmetic(_integral(math.trunc)),
        "nearest": arithmetic(_integral(round)),
        "sqrt": arithmetic(_square_root),
        "add": arithmetic(lambda a, b: a + b),
        "sub": arithmetic(lambda a, b: a - b),
        "mul": arithmetic(lambda a, b: a * b),
        "div": arithmetic(_float_divide),
        "min": arithmetic(_minimum),
        "max": arithmetic(lambda a, b: -_minimum(-a, -b)),
        "convert_i32_s": lambda a: _from_integer(signed(a, 32), n),
        "convert_i32_u": lambda a: _from_integer(a, n),
        "convert_i64_s": lambda a: _from_integer(signed(a, 64), n),
        "convert_i64_u": lambda a: _from_integer(a, n),
        "demote_f64": lambda a: to_bits(to_float(a, 64), n),
        "promote_f32": lambda a: to_bits(to_float(a, 32), n),
        "reinterpret_i32": lambda a: a,
        "reinterpret_i64": lambda a: a,
    }


def _modulo(operation: Callable[..., int], n: int) -> Callable[..., int]:
    return lambda *operands: int(operation(*operands)) % (1 << n)


NUMERIC: dict[str, Callable[..., int]] = {
    **{f"i32.{name}": _modulo(f, 32) for name, f in (_integer_operations(32) | _truncations(32)).items()},
    **{f"i64.{name}": _modulo(f, 64) for name, f in (_integer_operations(64) | _truncations(64)).items()},
    **{f"f32.{name}": f for name, f in _float_operations(32).items()},
    **{f"f64.{name}": f for name, f in _float_operations(64).items()},
}
"""What each numeric instruction computes. Raises `NumericTrap`."""

for _name in [f"f{n}.{comparison}" for n in (32, 64) for comparison in ("eq", "ne", "lt", "gt", "le", "ge")]:
    NUMERIC[_name] = _modulo(NUMERIC[_name], 32)
