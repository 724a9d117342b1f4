"""The hint for a job that reached a limit: the option that raises the limit, and a value."""

from __future__ import annotations

import re
from collections.abc import Callable

from plasm_core.quantities import bytes_text, gas_text, seconds_text
from plasm_core.records import Receipt

_MAX_GAS, _MAX_MEMORY, _MAX_OUTPUT, _MAX_WALL_S = 2**53 - 1, 1 << 32, 1 << 40, 86_400
_LEAST_OUTPUT = 1 << 10
_WALL = re.compile(r"after (\d{1,5}) s of wall time")


def limit_hint(receipt: Receipt) -> str | None:
    """Return the option that doubles the limit that the job reached, None if it reached no known limit.

    A job that gets no more memory fails by its own error, and few programs name the cause: if a failed job had used
    half of its memory, the hint names memory as a possible cause.
    """
    outcome, limits = receipt.result.outcome, receipt.asked.limits
    if outcome.kind == "out_of_gas":
        return _hint("gas", limits.gas, min(2 * limits.gas, _MAX_GAS), gas_text)
    if outcome.kind == "output_limit":
        more = max(2 * limits.output_bytes, _LEAST_OUTPUT)
        return _hint("output", limits.output_bytes, min(more, _MAX_OUTPUT), bytes_text)
    if outcome.kind == "timed_out":
        found = _WALL.fullmatch(outcome.detail or "")
        wall_s = int(found[1]) if found else 0
        return _hint("wall", wall_s, min(2 * wall_s, _MAX_WALL_S), seconds_text) if wall_s else None
    if not outcome.ok and outcome.recheckable and 2 * receipt.claims.peak_memory_bytes >= limits.memory_bytes:
        hint = _hint("memory", limits.memory_bytes, min(2 * limits.memory_bytes, _MAX_MEMORY), bytes_text)
        return hint and f"if it lacked memory: {hint}"
    return None


def _hint(name: str, limit: int, more: int, written: Callable[[int], str]) -> str | None:
    return f"--limit {name}={written(more)} (it was {written(limit)})" if more > limit else None
