"""The bench: it measures what it says, in turns, and tells what is missing."""

import json
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import works
from bench.goals import Goal
from bench.live import LIVE, Measured
from bench.load import MIB
from bench.measure import Figures
from bench.report import table
from bench.servers import SERVERS, Missing


@pytest.fixture(autouse=True)
def little(monkeypatch):
    """A piece of work that is done soon, by servers that need no more than the tests do; bound to no processor."""
    ways = {"floor": works._put("/", 3 * MIB), "headgate": works._form("/upload", 3 * MIB)}
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


def test_a_table_has_a_line_for_each(tmp_path: Path):
    lines = table("multipart", {"floor": Figures([1.0], [2.0], 5_000_000)})
    assert lines[-1] == "| floor | 1.000 (1.000 to 1.000) | 2.00 | 5 MB |"
