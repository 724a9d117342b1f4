"""Least squares."""


def line(points: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return slope, intercept and R² of the line through points that fits best."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    unexplained = sum((y - slope * x - intercept) ** 2 for x, y in points)
    total = sum((y - mean_y) ** 2 for _, y in points)
    return slope, intercept, 1 - unexplained / total
