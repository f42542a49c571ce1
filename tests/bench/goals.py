"""What headgate is held to: ratios of medians in one run."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from bench.load import MIB
from bench.measure import Figures, Spread

__all__ = ["GOALS", "SERIES_GOALS", "Goal", "SeriesGoal", "StepGoal"]


@dataclass(frozen=True)
class Goal:
    """`server` is to cost at most `most` times what `other` does, or to be at least `least` times as fast."""

    work: str
    other: str
    most: float | None = None
    least: float | None = None
    server: str = "headgate"

    def held(self, figures: Mapping[str, Figures]) -> tuple[str, bool] | None:
        """In words, and whether it is reached; None if one of them was not measured."""
        ours, theirs = figures.get(self.server), figures.get(self.other)
        if ours is None or theirs is None or not ours.cpu or not theirs.cpu:
            return None
        if self.most is not None:
            ratio = Spread.of(ours.cpu).median / Spread.of(theirs.cpu).median
            return (
                f"{self.server}: {ratio:.2f} x the CPU time of {self.other} (goal: <= {self.most})",
                ratio <= self.most,
            )
        ratio = Spread.of(ours.pace).median / Spread.of(theirs.pace).median
        return f"{self.server}: {ratio:.2f} x as fast as {self.other} (goal: >= {self.least})", ratio >= (
            self.least or 0
        )


@dataclass(frozen=True)
class SeriesGoal:
    """At every size from `least_size` bytes on, headgate is to need at most `most` times what `other` does for a file:
    of CPU time, or of the time that passes (`wall`)."""

    series: str
    other: str
    most: float
    least_size: int = 0
    wall: bool = False

    def held(self, figures: Mapping[int, Mapping[str, Figures]]) -> tuple[str, bool] | None:
        """In words, and whether it is reached; None if one of them was not measured."""
        ratios: list[float] = []
        for size, each in figures.items():
            ours, theirs = each.get("headgate"), each.get(self.other)
            if ours is None or theirs is None or not ours.cpu or not theirs.cpu:
                return None
            if size >= self.least_size:
                ratios.append(
                    Spread.of(theirs.pace).median / Spread.of(ours.pace).median
                    if self.wall
                    else Spread.of(ours.cpu).median / Spread.of(theirs.cpu).median
                )
        if not ratios:
            return None
        said = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        what = "time" if self.wall else "CPU time"
        return f"{said} x the {what} of {self.other} (goal: <= {self.most} each)", max(ratios) <= self.most


@dataclass(frozen=True)
class StepGoal:
    """From one size to the next, the cost of a file is to grow by at most the factor `most`, the cost of the bytes in
    between taken off: each byte at what it costs from the series' first size to its last, on average."""

    series: str
    server: str
    most: float

    def held(self, figures: Mapping[int, Mapping[str, Figures]]) -> tuple[str, bool] | None:
        """In words, and whether it is reached; None if it was not measured."""
        costs = {size: Spread.of(each[self.server].cpu).median for size, each in figures.items() if self.server in each}
        if len(costs) < 2:
            return None
        first, *_, last = costs
        each_byte = (costs[last] - costs[first]) / (last - first)
        steps = {
            after: (costs[after] - each_byte * (after - before)) / costs[before] for before, after in pairwise(costs)
        }
        said = ", ".join(f"{step:.2f}" for step in steps.values())
        return f"{self.server}: steps of {said} (goal: <= {self.most} each)", max(steps.values()) <= self.most


GOALS = (
    Goal("multipart", "floor", 1.25),
    Goal("multipart", "busboy", 0.45),
    Goal("multipart", "Starlette", 0.30),
    Goal("multipart", "aiohttp, naive", 0.40),
    Goal("put", "floor", 1.10),
    Goal("put", "nginx", 0.90),
    Goal("put", "nginx, default", 0.90),
    Goal("put", "Starlette", 0.50),
    Goal("tus", "@tus/server", 0.40),
    Goal("stored", "nginx", 1.05),
    Goal("rows", "aiohttp, naive", 0.60, server="headgate, embedded"),
    Goal("chunks", "aiohttp, naive", 0.60, server="headgate, embedded"),
    Goal("small", "one fsync at a time", least=1.6),
    Goal("small-volatile", "Starlette", least=0.75),
)

SERIES_GOALS: tuple[SeriesGoal | StepGoal, ...] = (
    SeriesGoal("forms", "aiohttp, naive", 1.0),
    SeriesGoal("puts", "aiohttp, naive", 1.0),
    SeriesGoal("forms", "nginx", 1.5, least_size=MIB),
    SeriesGoal("puts", "nginx", 1.5, least_size=MIB),
    SeriesGoal("forms-16", "aiohttp, naive", 1.2, wall=True),
    SeriesGoal("puts-16", "aiohttp, naive", 1.2, wall=True),
    SeriesGoal("gets-100", "nginx", 1.3),
    StepGoal("steps", "headgate", 1.3),
    StepGoal("steps", "headgate, PUT", 1.3),
)
