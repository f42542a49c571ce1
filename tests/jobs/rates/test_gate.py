"""The gate: open, paused, narrowed; and what a rate is worth. On a loop whose time is virtual, to the byte."""

import asyncio
import bisect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.jobs.rates.gate import Gate
from headgate.jobs.rates.throttle import Throttle
from virtual import run_virtually

KIB, MB = 1024, 1_000_000


class Mover:
    """Moves bytes through a gate, in chunks, and notes when."""

    def __init__(self, gate: Gate, chunk: int, *, work: float = 0.0) -> None:
        self.gate = gate
        self.chunk = chunk
        self.work = work  # seconds that it needs for each chunk of its own
        self.times: list[float] = []
        self.sums = [0]

    async def run(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            left = self.chunk
            while left:
                size = await self.gate.acquire(left)
                assert 0 < size <= left
                left -= size
                self.times.append(loop.time())
                self.sums.append(self.sums[-1] + size)
            await asyncio.sleep(self.work)

    def between(self, begin: float, end: float) -> int:
        """Bytes that moved then."""
        return self.sums[bisect.bisect_right(self.times, end)] - self.sums[bisect.bisect_left(self.times, begin)]

    def windows(self, seconds: float, begin: float, end: float) -> list[int]:
        """Bytes of every window of so many seconds, a step of its hundredth apart."""
        steps = int((end - begin - seconds) / seconds * 100)
        return [
            self.between(begin + step * seconds / 100, begin + step * seconds / 100 + seconds) for step in range(steps)
        ]


def narrowed(rate: int) -> Gate:
    gate = Gate()
    gate.set_rate(rate)
    return gate


@pytest.mark.parametrize("chunk", [700, 64 * KIB, 1024 * KIB])
@pytest.mark.parametrize("rate", [64 * KIB, 2048 * KIB, 100 * MB])
def test_a_rate_is_kept_over_any_two_seconds(monkeypatch, rate, chunk):
    """Within 5%, from the first byte on, however large the chunks that come."""
    if rate == 100 * MB and chunk == 700:
        chunk = 16 * KIB  # the same, in fewer steps

    async def main():
        mover = Mover(narrowed(rate), chunk)
        began = asyncio.get_running_loop().time()
        await mover.run(5)
        return mover.windows(2, began, began + 5)

    windows = run_virtually(main, monkeypatch)
    assert 0.95 * 2 * rate <= min(windows)
    assert max(windows) <= 1.05 * 2 * rate


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(
    chunks=st.lists(st.integers(min_value=100, max_value=300 * KIB), min_size=2, max_size=6),
    rate=st.integers(min_value=64 * KIB, max_value=10 * MB),
)
def test_a_rate_is_shared_fairly_whatever_the_chunks(monkeypatch, chunks, rate):
    """Everybody who could use more has the same, and together they have all of it."""

    async def main():
        throttle = Throttle(rate)
        movers = [Mover(Gate(), chunk) for chunk in chunks]
        for mover in movers:
            mover.gate.join(throttle)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(mover.run(8) for mover in movers))
        return [mover.between(began + 2, began + 8) for mover in movers]

    moved = run_virtually(main, monkeypatch)
    fair = 6 * rate / len(moved)
    # Nobody is further from it than some pieces of the rate.
    assert all(abs(each - fair) < 0.05 * fair + 0.15 * rate for each in moved), moved
    assert abs(sum(moved) - 6 * rate) < 0.05 * 6 * rate


def test_who_needs_less_than_a_share_leaves_the_rest_to_the_others(monkeypatch):
    async def main():
        throttle = Throttle(10 * MB)
        slow, narrow, *fast = movers = [
            Mover(Gate(), 10_000, work=0.1),
            Mover(narrowed(500_000), 64 * KIB),
            Mover(Gate(), 256 * KIB),
            Mover(Gate(), 1000),
        ]
        for mover in movers:
            mover.gate.join(throttle)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(mover.run(6) for mover in movers))
        return [mover.between(began + 1, began + 6) / 5 for mover in (slow, narrow, *fast)]

    slow, narrow, *fast = run_virtually(main, monkeypatch)
    assert slow == pytest.approx(100_000, rel=0.1)
    assert narrow == pytest.approx(500_000, rel=0.05)
    for each in fast:
        assert each == pytest.approx(9_400_000 / 2, rel=0.05)


def test_waiting_for_those_that_are_behind_costs_nothing(monkeypatch):
    """Very many that come and go, each with a little, leave the rest of the rate to one that always has more."""
    rate = 2 * MB

    async def main():
        throttle = Throttle(rate)
        movers = [Mover(Gate(), 256 * KIB), *(Mover(Gate(), 100, work=0.005) for _ in range(50))]
        for mover in movers:
            mover.gate.join(throttle)
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(mover.run(4) for mover in movers))
        return [mover.between(began + 1, began + 4) / 3 for mover in movers]

    fast, *others = run_virtually(main, monkeypatch)
    assert fast + sum(others) == pytest.approx(rate, rel=0.05)
    # Each of the others waits for its turn, at most as long as the lead and a piece.
    assert min(others) > 100 / 0.06


def test_a_paused_gate_lets_nothing_pass_and_bursts_at_no_resume(monkeypatch):
    """However long the pause, the two seconds after it have no more than two seconds' worth."""
    rate = 1024 * KIB

    async def main():
        loop = asyncio.get_running_loop()
        mover = Mover(narrowed(rate), 64 * KIB)
        moving = asyncio.create_task(mover.run(40))
        await asyncio.sleep(2)
        mover.gate.pause()
        paused = loop.time()
        await asyncio.sleep(30)
        mover.gate.resume()
        resumed = loop.time()
        await moving
        return mover.between(paused + 1e-6, resumed - 1e-6), mover.between(resumed, resumed + 2)

    while_paused, afterwards = run_virtually(main, monkeypatch)
    assert while_paused == 0
    assert afterwards == pytest.approx(2 * rate, rel=0.05)


@pytest.mark.parametrize("rates", [(100 * MB, 64 * KIB), (64 * KIB, 100 * MB), (MB, None), (None, MB)])
def test_a_rate_changes_at_once(monkeypatch, rates):
    """Also for what waits already, in either direction; what passed before is no debt."""
    before, after = rates

    async def main():
        loop = asyncio.get_running_loop()
        gate = Gate()
        gate.set_rate(before)
        mover = Mover(gate, 256 * KIB, work=0.001)
        moving = asyncio.create_task(mover.run(4.2))
        await asyncio.sleep(2)
        gate.set_rate(after)
        changed = loop.time()
        await moving
        return mover.between(changed + 0.1, changed + 2.1)

    moved = run_virtually(main, monkeypatch)
    if after is None:
        assert moved >= 100 * MB
    else:
        assert moved == pytest.approx(2 * after, rel=0.05, abs=4 * KIB)


def test_a_stopped_job_takes_no_turn(monkeypatch):
    """Cancelled while it waits, it neither takes nor holds up what is others'."""

    async def main():
        throttle = Throttle(MB)
        gates = [Gate() for _ in range(20)]
        for gate in gates:
            gate.join(throttle)
        doomed = [asyncio.create_task(gate.acquire_all(10 * MB)) for gate in gates[:-1]]
        mover = Mover(gates[-1], 64 * KIB)
        moving = asyncio.create_task(mover.run(4))
        await asyncio.sleep(1)
        for task in doomed:
            task.cancel()
        began = asyncio.get_running_loop().time()
        await moving
        return mover.between(began + 0.5, began + 2.5)

    assert run_virtually(main, monkeypatch) == pytest.approx(2 * MB, rel=0.05)


async def test_an_open_gate_asks_nobody():
    """No rate, no pause: the hot path sees one attribute, and a caller that asks all the same does not wait."""
    gate = Gate()
    assert gate.open
    assert await gate.acquire(12_345_678) == 12_345_678
    gate.set_rate(1)
    assert not gate.open
    gate.set_rate(None)
    gate.pause()
    assert not gate.open
    gate.resume()
    assert gate.open


async def test_a_pause_right_after_a_resume_holds():
    """Whoever was woken by the resume looks again."""
    gate = Gate()
    gate.pause()
    waiting = asyncio.create_task(gate.opened())
    await asyncio.sleep(0)
    gate.resume()
    gate.pause()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    gate.resume()
    await waiting
