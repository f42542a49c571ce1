"""Whether the loop may write itself: what the kernel says of dirty pages, and what it does not say."""

import time

import pytest

from headgate.storage.local.disk import congestion as pace
from headgate.storage.local.disk.congestion import PageCacheCongestion

VMSTAT = "nr_free_pages 1\nnr_dirty {dirty}\nnr_writeback {writeback}\nnr_dirty_threshold 1000\n" + (
    "nr_dirty_background_threshold 500\nother 5\n"
)


@pytest.fixture
def vmstat(tmp_path, monkeypatch):
    path = tmp_path / "vmstat"
    path.write_text(VMSTAT.format(dirty=0, writeback=0))
    monkeypatch.setattr(pace, "_VMSTAT", str(path))
    return path


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def watched(vmstat, clock):
    watched = PageCacheCongestion()
    yield watched
    watched.close()


@pytest.mark.parametrize(
    ("dirty", "writeback", "fast"),
    [(0, 0, True), (500, 62, True), (500, 63, False), (63, 500, False), (9999, 0, False)],
)
def test_the_loop_stops_writing_before_the_kernel_makes_it_wait(watched, vmstat, clock, dirty, writeback, fast):
    """Three quarters of what may be dirty, half-way between the two thresholds, is enough."""
    vmstat.write_text(VMSTAT.format(dirty=dirty, writeback=writeback))
    assert watched.is_fast() is fast


def test_it_looks_again_and_again_and_writes_again_when_the_dirt_is_gone(watched, vmstat, clock):
    vmstat.write_text(VMSTAT.format(dirty=900, writeback=0))
    assert not watched.is_fast()
    vmstat.write_text(VMSTAT.format(dirty=0, writeback=0))
    clock[0] += PageCacheCongestion.MIN_HOLD_SECONDS * 0.9
    assert not watched.is_fast(), "the warning still holds"
    vmstat.write_text(VMSTAT.format(dirty=900, writeback=0))
    clock[0] += PageCacheCongestion.LOOK_SECONDS * 0.9
    assert not watched.is_fast()
    clock[0] += PageCacheCongestion.LOOK_SECONDS * 0.2
    assert not watched.is_fast(), "this is a new warning"
    vmstat.write_text(VMSTAT.format(dirty=0, writeback=0))
    clock[0] += PageCacheCongestion.MIN_HOLD_SECONDS * 0.9
    assert not watched.is_fast()
    clock[0] += PageCacheCongestion.MIN_HOLD_SECONDS * 0.2
    assert watched.is_fast()


@pytest.mark.parametrize("text", ["", "nothing that we know\n", "\nnr_dirty many\n", "nr_dirty 9999\n"])
def test_a_kernel_that_says_something_else_is_judged_by_its_writes(watched, vmstat, clock, text):
    vmstat.write_text(text)
    assert watched.is_fast()
    watched.wrote(clock[0], clock[0] + PageCacheCongestion.SLOW_SECONDS * 2)
    assert not watched.is_fast()


def test_a_system_that_says_nothing_is_judged_by_its_writes(monkeypatch, tmp_path, clock):
    monkeypatch.setattr(pace, "_VMSTAT", str(tmp_path / "none"))
    blind = PageCacheCongestion()
    assert blind.is_fast()
    blind.close()


def test_after_a_slow_write_the_loop_writes_nothing_for_a_while_that_doubles(watched, clock):
    """From one second to a minute; a slow write long after the last one is the first again."""
    for hold in (1, 2, 4, 8, 16, 32, 60, 60):
        watched.wrote(clock[0], clock[0] + PageCacheCongestion.SLOW_SECONDS * 2)
        clock[0] += PageCacheCongestion.SLOW_SECONDS * 2 + hold - 0.1
        assert not watched.is_fast(), hold
        clock[0] += 0.2
        assert watched.is_fast(), hold
    clock[0] += PageCacheCongestion.MAX_HOLD_SECONDS
    watched.wrote(clock[0], clock[0] + PageCacheCongestion.SLOW_SECONDS * 2)
    clock[0] += PageCacheCongestion.SLOW_SECONDS * 2 + PageCacheCongestion.MIN_HOLD_SECONDS + 0.1
    assert watched.is_fast()


def test_a_write_that_is_slow_while_writes_are_known_to_be_slow_prolongs_the_warning(watched, clock):
    watched.wrote(clock[0], clock[0] + PageCacheCongestion.SLOW_SECONDS * 2)
    clock[0] += 1.0
    watched.wrote(clock[0], clock[0] + 3)
    clock[0] += 3 + PageCacheCongestion.MIN_HOLD_SECONDS - 0.1
    assert not watched.is_fast()
    clock[0] += 0.2
    assert watched.is_fast()
