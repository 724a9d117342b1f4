"""Limits as people write and read them: `gas=1e10`, `memory=256MiB`, `wall=60s` (tests/vectors/quantities.json)."""

from __future__ import annotations

import re

_BINARY = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}
_SECONDS = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600}


def bytes_text(value: int) -> str:
    """Return a number of bytes in the greatest unit that divides it, as in 256MiB; `--limit` reads it."""
    for name, size in _BINARY:
        if value and value % size == 0:
            return f"{value // size}{name}"
    return f"{value}B"


def shown_bytes(value: int) -> str:
    """Return a number of bytes for people, as in 12.3 MB."""
    for name, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {name}"
    return f"{value} B"


def gas_text(value: int) -> str:
    """Return an amount of gas, as in 1e10 or 1500; `--limit` reads it."""
    digits = str(value).rstrip("0")
    zeros = len(str(value)) - len(digits)
    return f"{digits}e{zeros}" if digits and zeros >= 4 else str(value)


def seconds_text(value: int) -> str:
    """Return a duration, as in 60s; `--limit` reads it."""
    return f"{value}s"


def quantity(text: str) -> int:
    """Parse a number such as 65536, 1e9, 64MiB or 2G. Raises: ValueError."""
    match = re.fullmatch(
        r"([0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[0-9]{1,2})?)\s*([kmgt]?i?)b?", text.strip().lower()
    )
    if match is None or match[2] not in _UNITS:
        raise ValueError(f'expected a number such as 1e9 or 64MiB, got "{text}"')
    from fractions import Fraction  # with decimal, which few commands need

    value = Fraction(match[1]) * _UNITS[match[2]]
    if not match[2] and value.denominator != 1:
        raise ValueError(f'expected a whole number, got "{text}"')
    return int(value)


def seconds(text: str) -> int:
    """Parse a duration such as 30, 30s or 5min, in whole seconds. Raises: ValueError."""
    match = re.fullmatch(r"([0-9]{1,9})\s*(s|min|m|h)?", text.strip().lower())
    if match is None:
        raise ValueError(f'expected whole seconds, minutes or hours, such as 30s, 5min or 2h, got "{text}"')
    return int(match[1]) * _SECONDS[match[2] or ""]
