"""A plot as SVG, without any library."""

WIDTH, HEIGHT, MARGIN = 480, 320, 40
COLOURS = ("#0b6e99", "#c7502e", "#3f7d3a", "#7a4fa3")


def svg(groups: dict[str, list[tuple[float, float]]], lines: dict[str, tuple[float, float, float]]) -> str:
    """Return points and fitted lines of each group."""
    xs = [x for points in groups.values() for x, _ in points]
    ys = [y for points in groups.values() for _, y in points]

    def at(x: float, y: float) -> tuple[str, str]:
        right = MARGIN + (x - min(xs)) / (max(xs) - min(xs)) * (WIDTH - 2 * MARGIN)
        down = HEIGHT - MARGIN - (y - min(ys)) / (max(ys) - min(ys)) * (HEIGHT - 2 * MARGIN)
        return f"{right:.2f}", f"{down:.2f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">']
    parts.append(
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#444"/>'
    )
    for number, (name, points) in enumerate(sorted(groups.items())):
        colour = COLOURS[number % len(COLOURS)]
        slope, intercept, _ = lines[name]
        (x1, y1), (x2, y2) = (at(x, slope * x + intercept) for x in (min(xs), max(xs)))
        parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}"/>')
        for x, y in points:
            cx, cy = at(x, y)
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{MARGIN + 8}" y="{MARGIN + 14 * (number + 1)}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
