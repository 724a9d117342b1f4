"""Read a CSV of measurements, fit a line to each group, and write a table and a plot.

Run by `plasm run` with an interpreter for `.py` (docs/scripts.md), or by any Python: it uses relative paths only.
"""

import csv
import os
import sys

import fit
import plot

MEASUREMENTS, RESULTS = "measurements.csv", "results"


def main() -> int:
    groups: dict[str, list[tuple[float, float]]] = {}
    with open(MEASUREMENTS, newline="") as file:
        for row in csv.DictReader(file):
            groups.setdefault(row["group"], []).append((float(row["hours"]), float(row["height_mm"])))
    lines = {name: fit.line(points) for name, points in groups.items()}
    os.makedirs(RESULTS, exist_ok=True)
    with open(f"{RESULTS}/table.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "points", "mm_per_hour", "mm_at_start", "r_squared"])
        for name, found in sorted(lines.items()):
            writer.writerow([name, len(groups[name]), *(f"{value:.6f}" for value in found)])
    with open(f"{RESULTS}/plot.svg", "w") as file:
        file.write(plot.svg(groups, lines))
    sys.stdout.write(f"{len(groups)} groups, {sum(map(len, groups.values()))} points\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
