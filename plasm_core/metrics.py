"""Counters, and the Prometheus text format (its exposition format 0.0.4) that shows them.

A *series* is written in that format, without the prefix `plasm_`: `jobs_refused_total{reason="policy"}`. A label
contains only words of this project: no address, no PeerId, and `other` in place of a peer's text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from types import MappingProxyType

_PREFIX = "plasm_"
_MAX_SERIES = 1000
_LABEL = re.compile(r"[a-z0-9_./-]{1,64}", re.ASCII)


class Counters:
    """Counts events by series, each from 0. Not thread-safe."""

    def __init__(self) -> None:
        self._series: dict[str, float] = {}

    @property
    def series(self) -> Mapping[str, float]:
        """The current value of each series."""
        return self._series

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Increase a counter. Never raises."""
        key = series(name, **labels)
        if key in self._series or len(self._series) < _MAX_SERIES:
            self._series[key] = self._series.get(key, 0) + amount


def series(name: str, **labels: str) -> str:
    """Return the name of a series: a metric's name with labels."""
    if not labels:
        return name
    words = {key: label if _LABEL.fullmatch(label) else "other" for key, label in sorted(labels.items())}
    pairs = ",".join(f'{key}="{word}"' for key, word in words.items())
    return f"{name}{{{pairs}}}"


def render(values: Mapping[str, float], help_: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return series as a page. What ends in `_total` is a counter, the rest are gauges.

    `help_`: what each metric counts, in a line; a metric that it lacks is described by the words of its name.
    """
    lines = []
    for name, members in itertools.groupby(sorted(values, key=_sorting), key=_name):
        told = help_.get(name) or f"{name.removesuffix('_total').replace('_', ' ').capitalize()}."
        lines.append(f"# HELP {_PREFIX}{name} {told}")
        lines.append(f"# TYPE {_PREFIX}{name} {'counter' if name.endswith('_total') else 'gauge'}")
        lines += [f"{_PREFIX}{member} {_number(values[member])}" for member in members]
    return "".join(f"{line}\n" for line in lines)


def _name(member: str) -> str:
    return member.partition("{")[0]


def _sorting(member: str) -> tuple[str, str]:
    return _name(member), member


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6f}"
