"""Whoever means harm takes their own share, and no more: short versions of what the soak does at length."""

import pytest

from faults.attacks import ATTACKS

pytestmark = pytest.mark.alone

#: So much of each. One user's event streams, and exports until others' are forgotten, take the long version to tell
#: anything; short ones of those are in tests/web/test_many_watchers.py.
SCALES = dict.fromkeys(ATTACKS, 0.1) | {"renames": 0.3, "listings": 0.5, "digests": 0.4, "jobs": 0.4, "zips": 0.25}
LONG_ONES = ("streams", "history")

#: How many times as long as the soak's goals something may take here. Timing promises are the soak's, on a machine that
#: does nothing else; what holds everywhere is that nobody waits in vain and no loop is blocked.
PATIENCE = 10


@pytest.mark.timeout(150)
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in LONG_ONES])
async def test_an_attack_reaches_nothing(root, attack):
    """Others are served, and what it can take is bounded."""
    attacked = await ATTACKS[attack](root, SCALES[attack])
    assert attacked.reached(PATIENCE), f"{attacked.figure}: {attacked.measured}; the goal is {attacked.goal}"
    assert not attacked.failures
