"""The model of strategies among liars (`benchmarks/verification.py`): what it shows holds for a short run, each time."""

from __future__ import annotations

import pytest

from benchmarks.verification import COLUMNS, measure, plot, table
from benchmarks.verification_model import KINDS

JOBS = 1_200


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_liar_is_believed_where_the_client_can_run_tasks_itself(kind: str) -> None:
    """After the first 1,000 jobs; each kind lied to this client, or was never asked."""
    row = measure("credible", kind, 0.2, 22, JOBS, 0)

    assert row.wrong <= 1e-3
    assert row.avoided == 0


def test_without_verification_the_model_accepts_every_lie() -> None:
    wrong = [measure("signature", "always", 0.4, 22, JOBS, number).wrong for number in range(3)]

    assert max(wrong) > 0.1


def test_the_same_seed_gives_the_same_figures() -> None:
    one, again = (measure("audit-remote", "copying", 0.4, 22, JOBS, 1) for _ in range(2))

    assert one == again
    assert measure("audit-remote", "copying", 0.4, 23, JOBS, 1) != one


def test_the_figures_have_a_table_and_a_plot() -> None:
    row = measure("credible", "always", 0.2, 22, JOBS, 0)

    assert table([row]).splitlines()[1].split()[:3] == ["credible", "always", "20%"]
    assert len(COLUMNS) == len(table([row]).splitlines()[1].split())
    assert plot([row]).count("<polyline") == 1
