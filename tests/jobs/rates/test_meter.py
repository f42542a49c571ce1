"""How many bytes, and how fast. The clock is the test's."""

import pytest

from headgate.jobs.rates.meter import Meter


def test_an_even_flow_shows_its_rate():
    meter = Meter(0.0)
    for tick in range(1, 101):
        meter.add(100, tick / 10)
        assert meter.rate(tick / 10) == pytest.approx(1000)
    assert meter.total == 10_000


def test_a_stall_shows_as_a_falling_rate():
    meter = Meter(0.0)
    for tick in range(1, 11):
        meter.add(100, tick / 10)
    assert meter.rate(1.5) == pytest.approx(1000)
    assert meter.rate(5.0) == 0.0


def test_a_slow_flow_is_not_taken_for_a_stall():
    """One chunk every three seconds."""
    meter = Meter(0.0)
    for tick in (3, 6, 9):
        meter.add(300, float(tick))
        assert meter.rate(float(tick)) == pytest.approx(100)


def test_the_first_moment_has_no_rate():
    assert Meter(5.0).rate(5.0) == 0.0


def test_a_pause_does_not_count():
    """Right after it the rate is that of what has moved since."""
    meter = Meter(0.0)
    for tenth in range(1, 21):
        meter.add(1000, tenth / 10)
    meter.restart(60.0)
    assert meter.rate(60.0) == 0
    meter.add(1000, 60.1)
    assert meter.rate(60.1) == pytest.approx(10_000)
    assert meter.total == 21_000
