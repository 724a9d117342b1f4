"""What is said of one run agrees with itself, though the wall clock is set while it lasts."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import attrs
import pytest

from plasm_core.records import Receipt
from plasm_core.records.consistency import contradictions
from plasm_core.stopwatch import Stopwatch
from plasm_core.testing.claims import receipt

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@attrs.define
class SetClock:
    """A wall clock that somebody sets, and a monotonic one that nobody does."""

    wall: datetime = NOW
    monotonic_s: float = 1_000.0

    def now(self, _zone: timezone) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.monotonic_s


def stated(watch: Stopwatch) -> Receipt:
    """Return a receipt as a node states it."""
    finished_at, wall_time_s = watch.read()
    of = receipt()
    claims = attrs.evolve(
        of.claims,
        started_at=watch.started_at,
        finished_at=finished_at,
        wall_time_ms=round(wall_time_s * 1000),
        cpu_time_ms=0,
    )
    return attrs.evolve(of, claims=claims)


@pytest.mark.parametrize(
    "step",
    [timedelta(0), timedelta(days=-9_000), timedelta(seconds=-1), timedelta(hours=1), timedelta(days=80_000)],
    ids=str,
)
@pytest.mark.parametrize("span_s", [0.0, 0.0004, 0.0006, 12.3456789, 86_400.0])
def test_a_wall_clock_that_is_set_makes_no_contradiction(
    monkeypatch: pytest.MonkeyPatch, step: timedelta, span_s: float
) -> None:
    clock = SetClock()
    monkeypatch.setattr("plasm_core.stopwatch.datetime", clock)
    monkeypatch.setattr("plasm_core.stopwatch.time", clock)
    watch = Stopwatch()
    clock.wall += step
    clock.monotonic_s += span_s

    found = stated(watch)

    assert contradictions(found) == ()
    error = found.claims.finished_at - found.claims.started_at - timedelta(seconds=span_s)
    assert abs(error) <= timedelta(microseconds=1)
