"""What was measured: as a table, as JSON, and as a chart."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.goals import GOALS
from bench.live import Measured
from bench.measure import Figures, Spread
from bench.works import WORKS

__all__ = ["chart", "goals", "live_table", "machine", "table", "write_json"]

#: Works that the chart shows.
CHARTED = ("multipart", "put", "tus", "parallel", "stored", "rows")


def machine() -> str:
    system = f"CPython {platform.python_version()}, {platform.system()} {platform.release().split('-')[0]}"
    return f"{system}, {os.cpu_count()} processors"


def table(name: str, figures: Mapping[str, Figures]) -> list[str]:
    work = WORKS[name]
    scale, unit, pace = (1, "CPU s/GB", "GB/s") if work.unit == "GB" else (1000, f"CPU ms/{work.unit[:-1]}", "/s")
    lines = [f"| {work.title} | {unit} (least to most) | {pace} | memory at most |", "|---|---|---|---|"]
    for server, each in figures.items():
        if each.missing:
            lines.append(f"| {server} | {each.missing} | | |")
            continue
        cpu, fast = Spread.of([scale * value for value in each.cpu]), Spread.of(each.pace)
        speed = f"{fast.median:.2f}" if work.unit == "GB" else f"{fast.median:,.0f}"
        spread = f"{cpu.median:.3f} ({cpu.least:.3f} to {cpu.most:.3f})"
        lines.append(f"| {server} | {spread} | {speed} | {each.peak / 1e6:.0f} MB |")
    return lines


def goals(measured: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    lines = ["| work | measured | reached |", "|---|---|---|"]
    for goal in GOALS:
        held = goal.held(measured.get(goal.work, {}))
        if held is not None:
            lines.append(f"| {WORKS[goal.work].title} | {held[0]} | {'yes' if held[1] else '**no**'} |")
    return lines


def live_table(rows: Sequence[Measured]) -> list[str]:
    said = {None: "", True: "yes", False: "**no**"}
    lines = [f"| {row.figure} | {row.goal} | {row.measured} | {said[row.reached]} |" for row in rows]
    return ["| figure | goal | measured | reached |", "|---|---|---|---|", *lines]


def write_json(path: Path, measured: Mapping[str, Mapping[str, Figures]], rows: Sequence[Measured]) -> None:
    works = {name: {server: asdict(each) for server, each in figures.items()} for name, figures in measured.items()}
    text = json.dumps({"machine": machine(), "works": works, "live": [asdict(row) for row in rows]}, indent=1)
    path.write_text(text + "\n")


def chart(path: Path, measured: Mapping[str, Mapping[str, Figures]]) -> None:
    """CPU seconds per GB, the less the better. The ending of `path` says whether it is SVG or PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    names = [name for name in CHARTED if name in measured]
    if not names:
        return
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "headgate", "font.size": 8})
    counts = [len(measured[name]) for name in names]
    figure, axes = pyplot.subplots(
        len(names), figsize=(8, 0.34 * sum(counts) + 0.5 * len(names)), height_ratios=counts, squeeze=False
    )
    for (axis,), name in zip(axes, names, strict=True):
        there = [(server, Spread.of(each.cpu)) for server, each in measured[name].items() if each.cpu]
        labels = [server for server, _ in there]
        spreads = [spread for _, spread in there]
        medians = [spread.median for spread in spreads]
        around = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
        colours = ["#c2410c" if label.startswith("headgate") else "#94a3b8" for label in labels]
        axis.barh(labels, medians, xerr=around, color=colours, ecolor="#334155", capsize=2)
        axis.bar_label(axis.containers[-1], [f"{median:.2f}" for median in medians], padding=4)
        axis.invert_yaxis()
        axis.set_title(f"{WORKS[name].title}: CPU seconds per GB", loc="left", fontsize=9)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
