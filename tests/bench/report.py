"""What was measured: as tables, as JSON, and as charts."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.goals import GOALS, SERIES_GOALS
from bench.live import Measured
from bench.measure import Figures, Spread
from bench.middle import SERIES, size_text
from bench.works import WORKS

__all__ = ["BySize", "chart", "goals", "live_table", "machine", "series_chart", "series_table", "table", "write_json"]

#: What the servers of a series needed for a file, by its size (bytes).
BySize = Mapping[int, Mapping[str, Figures]]

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


def series_table(name: str, figures: BySize) -> list[str]:
    """A row for each server, a column for each size: the medians of the CPU time, and of the time that passed."""
    series = SERIES[name]
    lines = [
        f"| {series.title}: CPU ms a file (ms a file) | {' | '.join(map(size_text, figures))} |",
        "|---" * (len(figures) + 1) + "|",
    ]
    for server in series.servers:
        cells = []
        for each in (by_server[server] for by_server in figures.values()):
            if each.missing:
                cells.append(each.missing)
                continue
            cpu, passed = 1000 * Spread.of(each.cpu).median, 1000 / Spread.of(each.pace).median
            cells.append(f"{cpu:.2f} ({passed:.2f})")
        lines.append(f"| {server} | {' | '.join(cells)} |")
    return lines


def goals(measured: Mapping[str, Mapping[str, Figures]], series: Mapping[str, BySize]) -> list[str]:
    lines = ["| work | measured | reached |", "|---|---|---|"]
    for goal in GOALS:
        held = goal.held(measured.get(goal.work, {}))
        if held is not None:
            lines.append(f"| {WORKS[goal.work].title} | {held[0]} | {'yes' if held[1] else '**no**'} |")
    for each in SERIES_GOALS:
        held = each.held(series.get(each.series, {}))
        if held is not None:
            lines.append(f"| {SERIES[each.series].title} | {held[0]} | {'yes' if held[1] else '**no**'} |")
    return lines


def live_table(rows: Sequence[Measured]) -> list[str]:
    said = {None: "", True: "yes", False: "**no**"}
    lines = [f"| {row.figure} | {row.goal} | {row.measured} | {said[row.reached]} |" for row in rows]
    return ["| figure | goal | measured | reached |", "|---|---|---|---|", *lines]


def write_json(
    path: Path,
    measured: Mapping[str, Mapping[str, Figures]],
    series: Mapping[str, BySize],
    rows: Sequence[Measured],
) -> None:
    def plain(figures: Mapping[str, Figures]) -> dict[str, object]:
        return {server: asdict(each) for server, each in figures.items()}

    told = {
        "machine": machine(),
        "works": {name: plain(figures) for name, figures in measured.items()},
        "series": {name: {size: plain(each) for size, each in sizes.items()} for name, sizes in series.items()},
        "live": [asdict(row) for row in rows],
    }
    text = json.dumps(told, indent=1)
    path.write_text(text + "\n")


def chart(path: Path, measured: Mapping[str, Mapping[str, Figures]]) -> None:
    """CPU seconds per GB, the less the better. The ending of `path` says whether it is SVG or PNG."""
    names = [name for name in CHARTED if name in measured]
    if not names:
        return
    pyplot = _pyplot()
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
    _save(figure, path)


def series_chart(path: Path, series: Mapping[str, BySize]) -> None:
    """CPU time of a file against its size, both on logarithmic axes: a panel for each series."""
    if not series:
        return
    pyplot = _pyplot()
    rows = (len(series) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(10, 3.2 * rows), squeeze=False)
    panels = list(axes.flat)
    for axis, (name, by_size) in zip(panels, series.items(), strict=False):
        sizes = list(by_size)
        for server in SERIES[name].servers:
            there = [(size, by_size[size][server]) for size in sizes if by_size[size][server].cpu]
            medians = [1000 * Spread.of(each.cpu).median for _, each in there]
            ours = server.startswith("headgate")
            axis.plot([size for size, _ in there], medians, marker="o", ms=3, lw=2 if ours else 1, label=server)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sizes, [size_text(size) for size in sizes], rotation=45 if len(sizes) > 6 else 0)
        axis.minorticks_off()
        axis.set_title(f"{SERIES[name].title}: CPU ms a file", loc="left", fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[len(series) :]:
        axis.set_visible(False)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "headgate", "font.size": 8})
    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
