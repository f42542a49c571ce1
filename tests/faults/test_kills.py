"""After kill -9 and a restart."""

import pytest

from faults.kills import content, kill_and_restart, label_of, restart_beside_a_survivor
from faults.kills_resumable import kill_and_resume


@pytest.mark.timeout(120)
async def test_nothing_acknowledged_is_lost_nothing_half_is_visible_nothing_is_left(root):
    """Whatever the uploads were doing at the moment (G3, G4)."""
    result = await kill_and_restart(root, rounds=25)
    assert result.failures == []
    assert (result.kills, result.lost, result.partial, result.left) == (25, 0, 0, 0)
    assert result.acknowledged > 25
    assert {"held", "deciding"} <= set(result.phases)


async def test_a_restart_leaves_another_servers_uploads_alone(root):
    """Two servers on one root: the one that was killed sweeps what was its own, and no more."""
    assert await restart_beside_a_survivor(root) == []


def test_a_file_tells_whether_it_is_whole():
    """The harness sees a missing end, a changed byte, and a foreign file."""
    data = content("label", 100)
    assert label_of(data) == "label"
    for other in (data[:-1], data[:50], data + b"x", data[:-1] + bytes([data[-1] ^ 1]), b"", b"other\n"):
        assert label_of(other) is None


@pytest.mark.timeout(120)
async def test_a_resumable_upload_has_the_bytes_that_it_says_it_has(root):
    """Never more, and never fewer than were acknowledged; what was finished is whole."""
    result = await kill_and_resume(root, rounds=25)
    assert result.failures == []
    assert (result.kills, result.amid) == (25, 25)
    assert result.finished > 0
