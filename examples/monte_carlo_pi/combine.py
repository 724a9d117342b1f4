"""Combine the results of many Monte-Carlo jobs, and plot how the estimate of pi settles.

    plasm map pi.wasm --range 200 -- '{}' 1000000 > pi.csv
    python combine.py pi.csv pi.svg

Each line of the first file is seed,points,inside; the second file is the plot. Nothing but Python is needed.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 720, 360, 40


def estimates(rows: Sequence[tuple[int, int, int]]) -> list[float]:
    """Return the estimate of pi after each job, from all points so far."""
    points = accumulate(row[1] for row in rows)
    inside = accumulate(row[2] for row in rows)
    return [4 * hits / thrown for hits, thrown in zip(inside, points, strict=True)]


def plot(values: Sequence[float]) -> str:
    """Return the estimates over the number of jobs as SVG, with pi as a dashed line."""
    reach = max(abs(value - math.pi) for value in values) or 1e-9

    def place(index: int, value: float) -> str:
        x = MARGIN + index / max(1, len(values) - 1) * (WIDTH - 2 * MARGIN)
        y = HEIGHT / 2 - (value - math.pi) / reach * (HEIGHT / 2 - MARGIN)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(index, value) for index, value in enumerate(values))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        f'<path d="M{MARGIN},{HEIGHT / 2} H{WIDTH - MARGIN}" stroke="gray" stroke-dasharray="4"/>'
        f'<polyline points="{line}" fill="none" stroke="steelblue" stroke-width="2"/>'
        f'<text x="{MARGIN}" y="{HEIGHT - 12}">jobs: 1 to {len(values)}</text>'
        f'<text x="{MARGIN}" y="20">estimate of pi, within {reach:.2g} of it</text></svg>\n'
    )


def main() -> None:
    """Combine the file that is named first, and write the plot that is named second."""
    source, target = map(Path, sys.argv[1:3])
    with source.open(newline="") as file:
        rows = [(int(seed), int(points), int(inside)) for seed, points, inside in csv.reader(file)]
    thrown = sum(row[1] for row in rows)
    found = estimates(rows)
    error = math.sqrt(math.pi * (4 - math.pi) / thrown)
    print(
        f"pi is about {found[-1]:.6f}, standard error {error:.6f}, from {thrown:,} points in {len(rows)} jobs"
    )
    target.write_text(plot(found))


if __name__ == "__main__":
    main()
