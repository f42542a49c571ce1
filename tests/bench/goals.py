"""What headgate is held to: ratios of medians in one run."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measure import Figures, Spread

__all__ = ["GOALS", "Goal"]


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
    Goal("small", "one fsync at a time", least=2.0),
    Goal("small-volatile", "Starlette", least=1.0),
)
