"""Which failed jobs of a batch may end differently when they run again. The others would fail in the same way."""

from __future__ import annotations

import json

from plasm_core.batch.plan import BatchTerms
from plasm_core.batch.rows import BatchJobState, JobRow, stored_outcome

SAME_AGAIN = frozenset(
    {
        *("invalid_manifest", "bad_files", "limit_too_low"),
        *("invalid", "not_wasm", "version", "component", "truncated", "malformed", "feature"),
        *("too_large", "function_too_large", "forbidden_import", "import_type", "no_start", "start_type"),
        *("no_entry", "entry_type", "no_memory", "reserved_name", "segment_out_of_bounds"),
        *("table_limit", "memory_limit"),
    }
)
"""Reasons of refusals (docs/protocol.md) that follow from the job alone, on every node and engine.

`compile_failed` is not among them: another engine may compile the module.
"""


class Repeatable:
    """Tells failed jobs of one batch apart."""

    def __init__(self, terms: BatchTerms) -> None:
        """`terms`: of the batch's jobs that have no others."""
        self._terms = terms

    def may_end_differently(self, row: JobRow) -> bool:
        """Return whether a failed job may end differently when it runs again.

        A job without grants that exited, trapped, or used up its gas or its output is a function of its module, its
        input and its limits. A job that timed out, was cancelled, or was not run, is not.
        """
        if row.state is BatchJobState.ERROR:
            return row.error_kind not in SAME_AGAIN
        outcome = stored_outcome(row.outcome)
        if outcome is None or not outcome.recheckable:
            return True
        terms = self._terms if row.terms is None else BatchTerms.from_json(json.loads(row.terms))
        return bool(terms.grants)
