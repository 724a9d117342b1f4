"""What to do about the jobs of a batch that failed at a limit."""

from __future__ import annotations

from collections.abc import Iterable

from plasm_core.batch.rows import JobRow
from plasm_core.cli.file_hint import file_hint
from plasm_core.cli.limit_hint import limit_hint
from plasm_core.errors import InvalidRecordError
from plasm_core.records import Envelope, Receipt

_MOST = 5
_LIMITS = ("out_of_gas", "output_limit", "timed_out")
"""Ends whose limit is certain. That a job lacked memory is a guess, and too weak to begin a batch anew."""


def batch_hints(rows: Iterable[JobRow]) -> list[str]:
    """Return a hint for each reason for which jobs failed and whose cure is an option."""
    found: dict[str, str] = {}
    for row in rows:
        if row.envelope is None or row.reason in found or len(found) == _MOST:
            continue
        try:
            receipt = Receipt.from_statement(Envelope.from_json(row.envelope).payload)
        except InvalidRecordError:
            continue
        option = file_hint(receipt, (row.stdout or b"") + (row.stderr or b""))
        if option is None and receipt.result.outcome.kind in _LIMITS:
            option = limit_hint(receipt)
        if option is not None:
            found[row.reason] = f"{row.reason}: begin a new batch; {option}"
    return list(found.values())
