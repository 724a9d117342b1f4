"""Which failed jobs may end differently when they run again."""

from __future__ import annotations

import json
import re

import attrs
import pytest

from plasm_core.batch.plan import BatchTerms
from plasm_core.batch.repeatable import SAME_AGAIN, Repeatable
from plasm_core.batch.rows import BatchJobState, JobRow
from plasm_core.records.outcome import Outcome
from tests.support.receipts import ROOT


def row(state: BatchJobState, *, outcome: Outcome | None = None, **values: object) -> JobRow:
    """Return a job with nothing but its end."""
    empty = dict.fromkeys(attrs.fields_dict(JobRow))
    ended = json.dumps(attrs.asdict(outcome)) if outcome else None
    return JobRow(**{**empty, "number": 0, "state": state, "outcome": ended, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(kind="exited", code=1), False),
        (Outcome(kind="exited", code=0), False),  # without an output that it was to leave
        (Outcome(kind="trapped", trap="unreachable"), False),
        (Outcome(kind="out_of_gas"), False),
        (Outcome(kind="output_limit"), False),
        (Outcome(kind="timed_out"), True),
        (Outcome(kind="system_error"), True),
    ],
)
def test_a_job_that_ended_by_itself_ends_so_again_unless_it_has_a_grant(
    outcome: Outcome, expected: bool
) -> None:
    ended = row(BatchJobState.FAILED, outcome=outcome)
    granted = BatchTerms(grants=("clock",))

    assert Repeatable(BatchTerms()).may_end_differently(ended) is expected
    assert Repeatable(granted).may_end_differently(ended)
    own = attrs.evolve(ended, terms=json.dumps(granted.to_json()))
    assert Repeatable(BatchTerms()).may_end_differently(own)
    own = attrs.evolve(ended, terms=json.dumps(BatchTerms().to_json()))
    assert Repeatable(granted).may_end_differently(own) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no_start", False),
        ("compile_failed", True),
        ("queue_full", True),
        ("PeerUnreachableError", True),
        ("ReceiptRejectedError", True),
        ("input", True),
    ],
)
def test_a_job_that_was_not_run_may_be_unless_its_module_is_refused(kind: str, expected: bool) -> None:
    refused = row(BatchJobState.ERROR, error="refused", error_kind=kind)

    assert Repeatable(BatchTerms()).may_end_differently(refused) is expected


def test_a_cancelled_job_may_be_run() -> None:
    assert Repeatable(BatchTerms()).may_end_differently(row(BatchJobState.CANCELLED, error_kind="cancelled"))


def test_all_reasons_about_a_module_are_known() -> None:
    page = (ROOT / "docs" / "protocol.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| `invalid`, ")]

    assert set(re.findall(r"`(\w+)`", line.split("|")[1])) - SAME_AGAIN == {"compile_failed"}
