"""Measuring pieces of work: every server in turns, round after round."""

import contextlib
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.clock import cpu_seconds, idle_cpu_seconds, peak_memory, reset_peak
from bench.load import BLOCK, MIB
from bench.servers import Missing, Running, serving
from bench.works import Work

__all__ = ["Figures", "Spread", "measure"]

GB = 1e9


@dataclass(frozen=True)
class Spread:
    """A median, and between what all lay."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Figures:
    """What one server used, in each round."""

    cpu: list[float] = field(default_factory=list)  #: seconds per unit
    pace: list[float] = field(default_factory=list)  #: units per second
    peak: int = 0  #: bytes of memory
    missing: str = ""  #: why there are none


def measure(works: Sequence[Work], rounds: int, directory: Path) -> list[dict[str, Figures]]:
    """All ways of `works`, which the same servers do, in turns, after one round that does not count."""
    figures = [{name: Figures() for name in work.ways} for work in works]
    with contextlib.ExitStack() as stack:
        running: dict[str, Running] = {}
        for name in works[0].ways:
            try:
                running[name] = stack.enter_context(serving(name, directory))
                for work in works:
                    work.prepare(running[name])
            except Missing as missing:
                running.pop(name, None)
                for each in figures:
                    each[name].missing = str(missing)
        for number in range(rounds + 1):
            names = list(running)
            for work, each in zip(works, figures, strict=True):
                # Whoever is first would always be so after the same pause.
                for name in names if number % 2 else reversed(names):
                    _once(work, running[name], each[name], counts=number > 0)
    return figures


def _warm(directory: Path, size: int) -> None:
    """Have free memory at hand. A virtual machine gives back to its host what has been free for a second or two, and
    whoever writes next into the page cache pays for getting it again: up to four times what the writing costs."""
    path = directory / "warm"
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(BLOCK)
    path.unlink()


def _once(work: Work, server: Running, figures: Figures, *, counts: bool) -> None:
    kept = {each.name for each in server.root.iterdir()}
    _warm(server.root.parent, work.writes)
    reset_peak(server.pid)
    cpu = cpu_seconds(server.pid)
    began = time.perf_counter()
    moved = work.ways[server.name](server)
    seconds = time.perf_counter() - began
    cpu = idle_cpu_seconds(server.pid) - cpu
    units = moved / GB if work.unit == "GB" else moved
    if counts:
        figures.cpu.append(cpu / units)
        figures.pace.append(units / seconds)
        figures.peak = max(figures.peak, peak_memory(server.pid))
    if work.tidy:
        for each in server.root.iterdir():
            if each.name not in kept:
                each.unlink()
    os.sync()  # so that nobody pays for what another wrote
