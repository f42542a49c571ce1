"""The soak: its parts give rows, a missed goal is one, and the exit code tells."""

import soak
from soak import Row, main


def test_a_part_gives_its_rows_as_a_table(capsys, tmp_path):
    assert main(["--only", "kills", "races", "--scale", "0.002", "--seed", "5", "--directory", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("seed 5,")
    table = out[out.index("| figure ") :].splitlines()
    assert len(table) == 4
    assert table[2].startswith("| kills -9 at random points / ")
    assert "| 2 / 0 / 0 | 2 / 0 / 0 (" in table[2]
    assert table[3].startswith("| terminate-against-publish races")
    assert all(row.endswith("| yes |") for row in table[2:])
    assert list(tmp_path.iterdir()) == []


def test_a_goal_that_is_missed_is_told_and_fails(capsys, monkeypatch):
    async def part(soak):
        yield Row("figure", "3", "0", reached=False, failures=["that was it"])

    monkeypatch.setitem(soak.PARTS, "memory", part)
    assert main(["--only", "memory"]) == 1
    out = capsys.readouterr().out
    assert "    that was it\n" in out
    assert out.endswith("| figure | 0 | 3 | **no** |\n")
