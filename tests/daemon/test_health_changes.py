"""How the doctor words what happened, and when."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from plasm_core.daemon.admin.health import told
from plasm_core.records.reachability import ReachabilityChange

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
NOW_S = 1_000_000.0


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=40), "40 s ago (2026-01-02T03:03:25Z)"),
        (timedelta(seconds=119), "119 s ago (2026-01-02T03:02:06Z)"),
        (timedelta(minutes=3), "3 min ago (2026-01-02T03:01:05Z)"),
        (timedelta(hours=5), "5 h ago (2026-01-01T22:04:05Z)"),
        (timedelta(days=3), "3 days ago (2025-12-30T03:04:05Z)"),
        (timedelta(seconds=-5), "0 s ago (2026-01-02T03:04:10Z)"),
    ],
)
def test_a_change_is_reported_with_its_age_and_time(ago: timedelta, words: str) -> None:
    change = ReachabilityChange(
        at=NOW - ago, what="address changed from 11.0.0.1 to 11.0.0.2", noted_s=NOW_S - ago.total_seconds()
    )

    assert told(change, NOW_S) == f"address changed from 11.0.0.1 to 11.0.0.2, {words}"


def test_a_clock_that_is_set_changes_no_age() -> None:
    change = ReachabilityChange(at=NOW + timedelta(days=400), what="address changed", noted_s=NOW_S - 40)

    assert told(change, NOW_S).startswith("address changed, 40 s ago")
