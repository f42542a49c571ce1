"""Every call of the operating system may fail, at every point: the outcome is clear, nothing is left."""

import contextlib
import errno
import os
import re
from pathlib import Path

import pytest

import headgate.storage
from faults.disk import CALLS, ERRORS, FailingCalls, every_fault
from faults.scenarios import SCENARIOS
from headgate.errors import StorageUnusable
from headgate.storage import Ledger, LocalStorage

SOURCE = Path(headgate.storage.__file__).parent


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", SCENARIOS)
async def test_whatever_fails_nothing_is_half_done_or_left(root, name):
    """Either it succeeded and is there whole, or it was refused with a clear error and everything is as before."""
    result = await every_fault(root, name, each=False)
    assert result.injected >= 3
    assert result.failures == []


@pytest.mark.parametrize("number", ERRORS)
async def test_a_start_that_fails_says_why_and_leaves_nothing_open(root, number):
    """StorageUnusable, or a storage that works; never anything else, and no descriptor is lost."""
    root.mkdir()
    before = len(os.listdir("/proc/self/fd"))
    index, finished = 0, False
    while not finished:
        calls = FailingCalls(index, number)
        storage = LocalStorage(root, ledger=Ledger(quota=1000, quota_per_owner=1000))
        with calls.installed():
            with contextlib.suppress(StorageUnusable):
                await storage.start()
                await storage.close()
        assert len(os.listdir("/proc/self/fd")) == before, f"after {calls.failed} failed"
        finished, index = calls.failed is None, index + 1
    assert index > 10


def test_every_call_that_the_storage_makes_can_be_failed():
    """No call of `os` or `fcntl` is forgotten in the list."""
    harmless = {"strerror", "fdopen", "stat_result", "listdir"}
    for path in SOURCE.rglob("*.py"):
        for call in re.findall(r"\b(?:os|fcntl)\.([a-z_]+)\(", path.read_text()):
            assert call in CALLS or call in harmless, f"{path.name}: {call}"
    assert errno.EIO in ERRORS
