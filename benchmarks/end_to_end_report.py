"""The table and the plot of benchmarks/end_to_end.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.end_to_end_cli import goals_met

_COLUMNS = (
    ("in_flight", "in flight"),
    ("jobs_per_s", "jobs/s"),
    ("p50_ms", "p50 ms"),
    ("p95_ms", "p95 ms"),
    ("syncs", "syncs"),
    ("client_cpu_ms", "client ms"),
    ("daemon_cpu_ms", "daemon ms"),
    ("workers_cpu_ms", "workers ms"),
)
_WIDTH, _HEIGHT, _LEFT, _LINE = 760, 26, 250, 22
_COLOUR = "#3b6ea5"


def write_report(report: Mapping[str, Any], out: Path | None) -> str:
    """Return the table; write it and a plot beside the figures, if these are kept."""
    table = (
        "\n".join([*_table(report), "", *_ratios(report), "", *_numbers(report), "", *_machines(report)])
        + "\n"
    )
    if out is not None:
        out.with_suffix(".txt").write_text(table)
        out.with_suffix(".svg").write_text(_plot(report))
    return table


def _ways(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: way for section in report.values() for name, way in section["ways"].items()}


def _table(report: Mapping[str, Any]) -> list[str]:
    lines = [f"{'':30}" + "".join(f"{title:>12}" for _, title in _COLUMNS)]
    for name, way in _ways(report).items():
        values = [way[key] for key, _ in _COLUMNS]
        cells = [
            "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.2f}" for value in values
        ]
        lines.append(f"{name:30}" + "".join(f"{cell:>12}" for cell in cells))
    return lines


def _ratios(report: Mapping[str, Any]) -> list[str]:
    """Return the ratios that have a goal, as far as their figures are there."""
    ways = _ways(report)

    def rate(name: str) -> float | None:
        return ways[name]["jobs_per_s"] if name in ways else None

    def first(*names: str) -> str:
        return next(
            (name for way in names for name in ways if name.startswith(way) and not name.endswith("one")), ""
        )

    many, tcp, quic = first("client, "), first("TCP, "), first("QUIC, ")
    socket = first("lending daemon, socket, ")
    lines = []

    def line(what: str, goal: str, value: float | None) -> None:
        if value is not None:
            lines.append(f"{what:74}{goal:>8}{value:8.2f}")

    def ratio(upper: float | None, lower: float | None) -> float | None:
        return None if upper is None or not lower else upper / lower

    if {"executor, one", "two commits", "client, one"} <= ways.keys():
        floor = ways["executor, one"]["p50_ms"] + ways["two commits"]["p50_ms"]
        line(
            "one at a time / (two commits + the executor's job), p50",
            "<= 1.5",
            ways["client, one"]["p50_ms"] / floor,
        )
    line(
        "jobs/s with many in flight / the executor's with two",
        ">= 0.5",
        ratio(rate(many), rate("executor, two")),
    )
    line(
        "the same from one loop without threads",
        "",
        ratio(rate(first("async client, ")), rate("executor, two")),
    )
    line(
        "TCP, one at a time / the socket, p50",
        "<= 1.3",
        _p50_ratio(ways, "TCP, one", "lending daemon, socket, one"),
    )
    line(
        "QUIC, one at a time / the socket, p50",
        "",
        _p50_ratio(ways, "QUIC, one", "lending daemon, socket, one"),
    )
    line("TCP, many in flight / the socket, jobs/s", ">= 0.7", ratio(rate(tcp), rate(socket)))
    line("QUIC, many in flight / the socket, jobs/s", "", ratio(rate(quic), rate(socket)))
    line("jobs/s with many in flight / huey", ">= 1", ratio(rate(many), rate(first("huey, 3"))))
    line("jobs/s with many in flight / dask.distributed", ">= 1", ratio(rate(many), rate(first("dask, 3"))))
    for section in report.values():
        for measure in goals_met(section["numbers"].get("cli_cpu_ms", {})):
            line(*measure)
    return lines


def _p50_ratio(ways: Mapping[str, Any], upper: str, lower: str) -> float | None:
    return ways[upper]["p50_ms"] / ways[lower]["p50_ms"] if upper in ways and lower in ways else None


def _numbers(report: Mapping[str, Any]) -> list[str]:
    lines = []
    for section in report.values():
        for name, value in section["numbers"].items():
            pairs = (
                value.items() if isinstance(value, dict) else [(f"{key:.0f}", item) for key, item in value]
            )
            lines.append(f"{name}: " + "  ".join(f"{key} {item:.1f}" for key, item in pairs))
    return lines


def _machines(report: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: " + "  ".join(f"{key} {value}" for key, value in section["machine"].items())
        for name, section in report.items()
    ]


def _plot(report: Mapping[str, Any]) -> str:
    """Return jobs a second of each way, and of each number of waiting jobs and clients, as bars in SVG."""
    bars = [(name, way["jobs_per_s"]) for name, way in _ways(report).items()]
    for section in report.values():
        for name, value in section["numbers"].items():
            if isinstance(value, list):
                words = name.replace("_per_s_by_", "/s, ").replace("_", " ")
                bars += [(f"{words} {key:.0f}", item) for key, item in value]
    most = max((rate for _, rate in bars), default=1.0)
    height = _HEIGHT * 2 + _LINE * len(bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="{_HEIGHT}">jobs a second</text>',
    ]
    for number, (name, rate) in enumerate(bars):
        y, width = _HEIGHT + 8 + _LINE * number, (_WIDTH - _LEFT - 80) * rate / most
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{name}</text>',
            f'<rect x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="{_LINE - 6}" fill="{_COLOUR}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}">{rate:.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
