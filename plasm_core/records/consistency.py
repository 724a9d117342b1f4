"""The consistency rules of a receipt: relations of its fields that hold for every run (docs/receipts.md, "Consistency").

A signature does not make a contradiction true. The rules follow from docs/determinism.md and from the meaning of the
fields; none excludes what is merely unlikely. PHP's rules are in `Plasm\\Receipt\\Consistency`.
`tests/vectors/consistency.json` tests both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

from plasm_core.records.digest import sha256
from plasm_core.records.manifest import Manifest
from plasm_core.records.receipt import Receipt

CALL_GAS = 1_000
VECTOR_GAS = 8
"""The gas of `fd_write`, and of each of its vectors, in addition to 1 for each byte (docs/determinism.md, "Gas")."""

EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)
LATEST = datetime(2262, 4, 11, 23, 47, 16, tzinfo=timezone.utc)
"""The end of 64-bit nanoseconds since 1970, beyond which no system's clock goes."""

SPAN_TOLERANCE_MS = 500
"""Nodes older than these rules read the clock for each of the three times, and may have been held up in between."""
PROCESSOR_TOLERANCE_MS = 2_000
"""They also counted what a worker did before its job came."""
SHARED_PROCESSOR_MS = 86_400_000
"""And of a shared worker all its jobs, up to its limit of processor time."""

NOTHING = sha256(b"")


def contradictions(receipt: Receipt, manifest: Manifest | None = None) -> tuple[str, ...]:
    """Return the names of the consistency rules that a receipt breaks. `manifest`: set if the caller has it.

    Rules that parsing checks are not included: those of `Outcome`, of `reproducible` and of the task digest.
    """
    broken = [name for name, holds in _RULES.items() if not holds(receipt)]
    if manifest is not None and receipt.claims.attempt > manifest.retry.attempts:
        broken.append("attempt-within-retries")
    return tuple(broken)


def _outputs(receipt: Receipt) -> Iterator[tuple[str, int]]:
    yield receipt.stdout, receipt.result.stdout_bytes
    yield receipt.stderr, receipt.result.stderr_bytes


def _output_within_limit(receipt: Receipt) -> bool:
    return all(size <= receipt.asked.limits.output_bytes for _, size in _outputs(receipt))


def _output_limit_reached(receipt: Receipt) -> bool:
    limit = receipt.asked.limits.output_bytes
    return receipt.result.outcome.kind != "output_limit" or any(
        size >= limit for _, size in _outputs(receipt)
    )


def _gas_covers_run(receipt: Receipt) -> bool:
    result = receipt.result
    if not result.outcome.recheckable or not _output_within_limit(receipt):
        return True
    least = 1  # entering _start or the job's entry
    least += sum(CALL_GAS + VECTOR_GAS + size for _, size in _outputs(receipt) if size)
    least += 1 if result.outcome.kind == "output_limit" else 0  # the byte over the limit
    return result.gas_used >= least


def _out_of_gas_at_limit(receipt: Receipt) -> bool:
    return receipt.result.outcome.kind != "out_of_gas" or receipt.result.gas_used >= receipt.asked.limits.gas


def _same_digest_same_size(receipt: Receipt) -> bool:
    same = receipt.stdout == receipt.stderr
    return not same or receipt.result.stdout_bytes == receipt.result.stderr_bytes


def _wall_time_is_span(receipt: Receipt) -> bool:
    claims = receipt.claims
    span_us = (claims.finished_at - claims.started_at) // timedelta(microseconds=1)
    return abs(span_us - 1_000 * claims.wall_time_ms) <= 1_000 * SPAN_TOLERANCE_MS


def _processor_within_wall_time(receipt: Receipt) -> bool:
    claims = receipt.claims
    before = SHARED_PROCESSOR_MS if claims.isolation == "shared" else 0
    return claims.cpu_time_ms <= claims.wall_time_ms + PROCESSOR_TOLERANCE_MS + before


_RULES: dict[str, Callable[[Receipt], bool]] = {
    "gas-within-limit": lambda receipt: receipt.result.gas_used <= receipt.asked.limits.gas,
    "out-of-gas-at-limit": _out_of_gas_at_limit,
    "gas-covers-run": _gas_covers_run,
    "output-within-limit": _output_within_limit,
    "output-limit-reached": _output_limit_reached,
    "empty-output-digest": lambda receipt: all(
        (size == 0) == (digest == NOTHING) for digest, size in _outputs(receipt)
    ),
    "same-digest-same-size": _same_digest_same_size,
    "clock-range": lambda receipt: (
        EARLIEST <= receipt.claims.started_at < LATEST and EARLIEST <= receipt.claims.finished_at < LATEST
    ),
    "finished-after-started": lambda receipt: receipt.claims.started_at <= receipt.claims.finished_at,
    "wall-time-is-span": _wall_time_is_span,
    "processor-within-wall-time": _processor_within_wall_time,
}
