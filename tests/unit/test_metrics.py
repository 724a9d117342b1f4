"""Counters, and what they look like to Prometheus."""

from __future__ import annotations

import pytest

from plasm_core.metrics import Counters, render, series


def test_series_are_counted_by_name_and_labels() -> None:
    counters = Counters()
    counters.add("jobs_refused_total", reason="policy")
    counters.add("jobs_refused_total", 2, reason="policy")
    counters.add("jobs_refused_total", reason="queue_full")

    assert counters.series == {
        'jobs_refused_total{reason="policy"}': 3,
        'jobs_refused_total{reason="queue_full"}': 1,
    }


def test_labels_are_sorted() -> None:
    assert series("messages_total", type="ping", direction="sent") == (
        'messages_total{direction="sent",type="ping"}'
    )


@pytest.mark.parametrize("label", ["", 'a"} 1\nplasm_evil 2', "12D3KooW", "é", "a" * 65])
def test_what_is_no_word_of_the_projects_own_is_not_shown(label: str) -> None:
    """A label that others could choose would tell of them, and could be anything."""
    assert series("jobs_total", reason=label) == 'jobs_total{reason="other"}'


def test_series_are_bounded_in_number() -> None:
    counters = Counters()
    for number in range(5000):
        counters.add("jobs_total", reason=f"reason-{number}")
    counters.add("jobs_total", reason="reason-0")

    assert len(counters.series) == 1000
    assert counters.series['jobs_total{reason="reason-0"}'] == 2


def test_the_page_has_each_name_once_with_its_type() -> None:
    values = {
        "jobs_running": 2.0,
        'jobs_total{outcome="b"}': 1,
        'jobs_total{outcome="a"}': 3,
        "seconds_total": 0.5,
    }

    assert render(values, {"jobs_running": "Jobs that run."}) == (
        "# HELP plasm_jobs_running Jobs that run.\n"
        "# TYPE plasm_jobs_running gauge\n"
        "plasm_jobs_running 2\n"
        "# HELP plasm_jobs_total Jobs.\n"
        "# TYPE plasm_jobs_total counter\n"
        'plasm_jobs_total{outcome="a"} 3\n'
        'plasm_jobs_total{outcome="b"} 1\n'
        "# HELP plasm_seconds_total Seconds.\n"
        "# TYPE plasm_seconds_total counter\n"
        "plasm_seconds_total 0.500000\n"
    )
    assert render({}) == ""
