"""Whatever a client does, its job ends, and nothing of it is left."""

import random

import pytest

from faults.aborts import KINDS, many_aborts
from faults.clients import ABORTS, EXPORT, abort
from faults.log import is_fault
from support import eventually, serving


@pytest.mark.parametrize("kind", ABORTS)
async def test_a_misbehaving_client_leaves_nothing(root, regime, kind, caplog):
    """Its job has ended with a reason, nothing is staged, no connection is left, and the log holds no error."""
    config = {"watch_interval": 0.02, "linger_timeout": 0.2, "idle_timeout": 1.0}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        (root / EXPORT).write_bytes(b"x" * 8_000_000)
        for seed in range(5):
            await abort(server.port, kind, random.Random(seed))
        await eventually(lambda: not server.jobs.live() and not server.runner.server.connections, "the end of all")
        assert all(job.state.ended for job in server.infos())
        assert all(job.reason or job.state == "completed" for job in server.infos())
        assert server.staged() == []
    assert [record.getMessage() for record in caplog.records if is_fault(record)] == []


@pytest.mark.timeout(120)
async def test_after_many_aborts_of_every_kind_everything_is_where_it_was(root, regime):
    """Descriptors, tasks, staged bytes and quota return to the baseline (G4)."""
    result = await many_aborts(root, count=20 * len(KINDS), handler_cancellation=regime)
    assert result.failures == []
    assert (result.descriptors, result.tasks, result.staged, result.quota) == (0, 0, 0, 0)
    assert set(result.aborts) == set(KINDS)
