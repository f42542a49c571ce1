"""Terminate against transfers that are about to complete: a thousand of them, exactly one outcome each (G2)."""

import pytest

from faults.races import race_exports, race_track, race_uploads
from headgate.jobs import State

ROUNDS = 250  # of each kind, in each regime: 1,000 in all


@pytest.mark.timeout(120)
async def test_an_upload_is_either_terminated_or_published(root, regime):
    """Never both, never neither, and nothing staged; and the race is close enough to be won by either."""
    async with race_track(root, handler_cancellation=regime) as server:
        result = await race_uploads(server, rounds=ROUNDS)
    assert result.failures == []
    assert (result.races, result.one) == (ROUNDS, ROUNDS)
    assert {(409, 200), (201, 409)} <= set(result.outcomes)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["stored", "generated"])
async def test_an_export_is_either_terminated_or_whole(root, name):
    """Never a body that looks whole and is not, nor a terminated one that is."""
    async with race_track(root) as server:
        result = await race_exports(server, name, rounds=ROUNDS)
    assert result.failures == []
    assert (result.races, result.one) == (ROUNDS, ROUNDS)
    assert ("whole", 409) in result.outcomes
    assert name == "stored" or ("truncated", 200) in result.outcomes


async def test_a_race_without_a_winner_is_noticed(root):
    """The judge fails what has two outcomes, or none."""
    async with race_track(root) as server:
        result = await race_uploads(server, rounds=1)
        result.judge(1, 201, 200, State.COMPLETED, {"terminated and refused": False, "a clear answer": True})
    assert (result.races, result.one) == (2, 1)
    assert len(result.failures) == 1
