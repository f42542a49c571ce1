"""The bench: it measures what it says, in turns, and tells what is missing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import middle, works
from bench.goals import Goal, SeriesGoal, StepGoal
from bench.live import LIVE, Measured
from bench.load import MIB
from bench.measure import Figures
from bench.report import series_chart, table
from bench.servers import SERVERS, Missing
from bench.ways import form, put


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """A piece of work that is done soon, by servers that need no more than the tests do; bound to no processor."""
    ways = {"floor": put("/", 3 * MIB), "headgate": form("/upload", 3 * MIB)}
    monkeypatch.setitem(works.WORKS, "multipart", works.Work("little", ways))
    monkeypatch.setattr(bench, "client_processor", lambda: None)


def test_a_part_gives_its_table_its_figures_and_its_goals(tmp_path, capsys):
    """Every server of the work is measured as often as was asked, and nothing is left where it stored."""
    figures = tmp_path / "figures.json"
    where = ("--directory", str(tmp_path), "--json", str(figures))
    assert bench.main(["--only", "multipart", "--rounds", "2", *where]) == 0
    out = capsys.readouterr().out
    assert "| floor | " in out
    assert "| little | headgate: " in out
    told = json.loads(figures.read_text())["works"]["multipart"]
    assert {name: len(each["cpu"]) for name, each in told.items()} == {"floor": 2, "headgate": 2}
    assert all(value > 0 for each in told.values() for value in each["cpu"] + each["pace"])
    assert list(tmp_path.iterdir()) == [figures]


def test_what_cannot_be_had_is_left_out_by_name(monkeypatch, tmp_path, capsys):
    def missing(place):
        raise Missing("this machine has no floor")

    monkeypatch.setitem(SERVERS, "floor", missing)
    assert bench.main(["--only", "multipart", "--rounds", "1", "--directory", str(tmp_path)]) == 0
    assert "| floor | this machine has no floor | | |" in capsys.readouterr().out


def test_a_live_part_is_a_row(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(LIVE, "memory", lambda _: iter([Measured("figure", "3", "2", reached=False)]))
    assert bench.main(["--only", "memory", "--directory", str(tmp_path)]) == 0
    assert "| figure | 2 | 3 | **no** |" in capsys.readouterr().out


@pytest.mark.parametrize(("theirs", "reached"), [(2.0, True), (1.9, False)])
def test_a_goal_compares_medians(theirs, reached):
    figures = {"headgate": Figures([1.0, 1.0, 9.0], [1.0]), "other": Figures([theirs, theirs, 0.1], [1.0])}
    assert Goal("multipart", "other", 0.5).held(figures)[1] is reached
    assert Goal("multipart", "absent", 0.5).held(figures) is None


def test_a_series_measures_every_size(monkeypatch, tmp_path, capsys):
    """A series gives a column for each size and a row for each server, the figures of both, and its goals."""
    asks = {"headgate": middle._put("/files/"), "aiohttp, naive": middle._put("/raw/")}
    little = middle._series("little puts", asks, sizes=(4096, 128 * 1024, MIB), clients=3)
    monkeypatch.setitem(middle.SERIES, "puts-16", little)
    monkeypatch.setattr(middle, "FILES", 6)
    figures = tmp_path / "figures.json"
    where = ("--directory", str(tmp_path), "--json", str(figures))
    assert bench.main(["--only", "puts-16", "--rounds", "1", *where]) == 0
    out = capsys.readouterr().out
    assert "| little puts: CPU ms a file (ms a file) | 4 KiB | 128 KiB | 1 MiB |" in out
    assert "| headgate | " in out
    assert "x the time of aiohttp, naive (goal: <= 1.2 each)" in out
    told = json.loads(figures.read_text())["series"]["puts-16"]
    assert list(told) == ["4096", "131072", str(MIB)]


def test_a_series_is_drawn_by_size(tmp_path):
    """A panel for each series, with a line for each server that was measured."""
    by_size = {size: {"headgate": Figures([cost], [1.0])} for size, cost in ((4096, 1.0), (MIB, 2.0))}
    missing = {server: Figures(missing="not here") for server in ("floor", "aiohttp, naive", "Starlette", "nginx")}
    series_chart(tmp_path / "chart.svg", {"puts": {size: missing | each for size, each in by_size.items()}})
    assert "raw PUTs, one client" in (tmp_path / "chart.svg").read_text()


@pytest.mark.parametrize("part", ["puts-tls", "gets"])
def test_a_series_through_tls_and_one_of_exports(part, monkeypatch, tmp_path, capsys):
    """Servers with a certificate of their own serve their clients; exports are of files that were there before."""
    few = {
        size: replace(work, ways=dict([next(iter(work.ways.items()))]), writes=0)
        for size, work in middle.SERIES[part].works.items()
        if size <= 256 * 1024
    }
    monkeypatch.setitem(middle.SERIES, part, middle.Series("little", few))
    assert bench.main(["--only", part, "--rounds", "1", "--directory", str(tmp_path)]) == 0
    assert "| little: CPU ms a file (ms a file) | 64 KiB | 256 KiB |" in capsys.readouterr().out


@pytest.mark.parametrize(("theirs", "reached"), [((1.0, 2.0), True), ((1.0, 1.9), False)])
def test_a_goal_of_a_series_holds_at_every_size(theirs, reached):
    sizes = {
        size: {"headgate": Figures([float(size)], [1]), "other": Figures([theirs[size - 1]], [1])} for size in (1, 2)
    }
    assert SeriesGoal("puts", "other", 1.0).held(sizes)[1] is reached
    assert SeriesGoal("puts", "absent", 1.0).held(sizes) is None
    assert SeriesGoal("puts", "other", 1.0, least_size=3).held(sizes) is None


@pytest.mark.parametrize(("middle_cost", "reached"), [(10.0, True), (12.0, True), (14.5, False)])
def test_a_step_is_what_the_bytes_do_not_explain(middle_cost, reached):
    """Ten bytes cost 0.1 each here, so 10 to 11 is no step, and 10 to 14.5 one of 1.35."""
    costs = {0: 10.0, 10: middle_cost, 100: 20.0}
    sizes = {size: {"headgate": Figures([cost], [1])} for size, cost in costs.items()}
    assert StepGoal("steps", "headgate", 1.3).held(sizes)[1] is reached
    assert StepGoal("steps", "headgate", 1.3).held({}) is None


def test_a_table_has_a_line_for_each(tmp_path: Path):
    lines = table("multipart", {"floor": Figures([1.0], [2.0], 5_000_000)})
    assert lines[-1] == "| floor | 1.000 (1.000 to 1.000) | 2.00 | 5 MB |"
