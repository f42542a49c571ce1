"""What a transfer's bar shows is true: while it runs, while it is paused, and when it is refused."""

import os
import re
import signal

import pytest

from e2e.client.test_client import MIB, Terminal, one_live, run
from e2e.conftest import running
from support import eventually

SPEED = r"[1-9][\d.]* ?[kKMG]?i?B/s"
LEFT = r"\d+:\d\d(:\d\d)?|\d+ s\b"
DECIMAL = r"\d ?[kKMG]B\b"
BINARY = r"\d ?[KMG]iB\b"


@pytest.fixture
async def served(root):
    async with running(root, "--total-rate", "8MiB") as server:
        yield server
        server.kill()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(MIB) * 100)
    return path


def one_system(*texts):
    """Are all sizes and rates in these texts of one system of units?"""
    text = "\n".join(texts)
    assert re.search(DECIMAL, text) or re.search(BINARY, text), text
    return not (re.search(DECIMAL, text) and re.search(BINARY, text))


async def frames(terminal, title, number=4):
    """What the bar shows from now on: its next lines."""
    seen = len(terminal.text)

    def later():
        lines = [line for line in re.split(r"[\r\n]+", terminal.text[seen:]) if title in line and "B" in line]
        return lines[1:] if len(lines) > number else None

    return await eventually(later, f"more of the bar of {title}")


@pytest.mark.parametrize("kind", ["upload", "export"])
async def test_a_bar_has_a_percent_and_one_system_of_units(served, big, tmp_path, kind):
    """The bytes, the rate, and what the commands say."""
    if kind == "export":
        os.link(big, served.root / "big.bin")
    arguments = ["upload", str(big)] if kind == "upload" else ["export", "big.bin", "-o", "/dev/null"]
    async with Terminal(served, *arguments, cwd=tmp_path) as terminal:
        job = await one_live(served)
        await terminal.shows(SPEED)
        shown = (await frames(terminal, "big.bin"))[-1]
        assert re.search(r"\b\d{1,2}%", shown), shown
        _, slowed, _ = await run(served, "rate", job["id"], "3MB")
        _, listed, _ = await run(served, "jobs")
        assert one_system(shown, slowed, listed), (shown, slowed, listed)
        os.killpg(terminal.process.pid, signal.SIGINT)
        await terminal.process.wait()


async def test_a_paused_bar_promises_no_end(served, big, tmp_path):
    """No speed that it had, no time that is left; resumed, it has both again."""
    async with Terminal(served, "upload", str(big), cwd=tmp_path) as terminal:
        job = await one_live(served)
        await terminal.shows(SPEED)
        await run(served, "pause", job["id"])
        await terminal.shows(r"\[?paused\]?")
        shown = (await frames(terminal, "big.bin"))[-1]
        assert "paused" in shown
        assert not re.search(SPEED, shown), shown
        assert not re.search(LEFT, shown), shown
        await run(served, "resume", job["id"])
        seen = len(terminal.text)
        await eventually(lambda: re.search(SPEED, terminal.text[seen:]), "a speed")
        os.killpg(terminal.process.pid, signal.SIGINT)
        await terminal.process.wait()


async def test_the_bar_of_what_was_refused_is_not_full(root, tmp_path):
    """What was read here and sent is not what was taken there."""
    (tmp_path / "small.bin").write_bytes(b"x" * 2 * MIB)
    async with running(root) as served:
        (root / "small.bin").write_bytes(b"there")
        async with Terminal(served, "upload", "small.bin", cwd=tmp_path) as terminal:
            await terminal.shows(r"\(name-taken\)")
            assert await terminal.process.wait() == 1
        shown = [line for line in re.split(r"[\r\n]+", terminal.text) if re.search(r"small\.bin\b.*━", line)]
    assert not re.search(r"\b100%|(?<![\d.])2\.[01]\S*/2\.[01]\S*", shown[-1] if shown else ""), shown
