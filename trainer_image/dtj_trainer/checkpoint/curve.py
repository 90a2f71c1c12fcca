"""The loss of the whole job in a bounded number of points, so that it fits into every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

LIMIT = 1024


@dataclass
class Curve:
    """Mean loss over the labels of consecutive stretches of steps.

    When `LIMIT` stretches are full, neighbours are merged and stretches become twice as long.
    """

    stride: int = 1
    points: list[list[float]] = field(default_factory=list)
    """Rows of (last step, sum of loss x weight, weight, steps)."""

    def add(self, step: int, loss: float, weight: int) -> None:
        """Take in the mean loss of one step and how many labels it stands for."""
        if self.points and self.points[-1][3] < self.stride:
            last = self.points[-1]
            last[0], last[1], last[2], last[3] = step, last[1] + loss * weight, last[2] + weight, last[3] + 1
            return
        if len(self.points) == LIMIT:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [[b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]] for a, b in pairs]
            self.stride *= 2
        self.points.append([step, loss * weight, weight, 1])

    def series(self) -> tuple[list[float], list[float]]:
        """Steps and mean losses, ready to plot."""
        return [point[0] for point in self.points], [point[1] / point[2] for point in self.points]

    def mean(self, first: int) -> float:
        """Mean loss over the labels of the stretches that end at step `first` or later; 0 for none."""
        rows = [point for point in self.points if point[0] >= first]
        return sum(row[1] for row in rows) / sum(row[2] for row in rows) if rows else 0.0
