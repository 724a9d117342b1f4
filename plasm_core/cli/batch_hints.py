"""What to do about the jobs of a batch that failed at a limit."""

from __future__ import annotations

from collections.abc import Iterable

from plasm_core.batch.rows import JobRow
from plasm_core.cli.file_hint import file_hint
from plasm_core.cli.limit_hint import limit_hint
from plasm_core.errors import InvalidRecordError
from plasm_core.records import Envelope, Receipt

_MOST = 5
_MOST_READ = 1000
"""How many receipts are read: that takes time, and jobs with one reason mostly have one cause."""
_LIMITS = ("out_of_gas", "output_limit", "timed_out")
"""Ends whose limit is certain. That a job lacked memory is a guess, and no reason to run a whole batch again."""


def batch_hints(rows: Iterable[JobRow]) -> list[str]:
    """Return a hint for each reason for which jobs failed and whose cure is an option."""
    found: dict[str, str] = {}
    read = 0
    for row in rows:
        if row.envelope is None or row.reason in found:
            continue
        if read == _MOST_READ or len(found) == _MOST:
            break
        read += 1
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
