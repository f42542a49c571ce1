"""Fixtures that every room's tests use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import Server, serving, token_users

# Machines are shared and noisy: a slow example is no failure.
settings.register_profile("headgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headgate")


@pytest.fixture(params=[False, True], ids=["cancellation-off", "cancellation-on"])
def regime(request: pytest.FixtureRequest) -> bool:
    """Both of aiohttp's regimes: whether a handler is cancelled when its client goes away is up to the host."""
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
async def server(root: Path) -> AsyncIterator[Server]:
    """A server with one user, to whom everything belongs."""
    async with serving(root) as server:
        yield server


@pytest.fixture
async def team(root: Path) -> AsyncIterator[Server]:
    """A server with users: alice, bob, and root, who is an admin."""
    async with serving(root, authenticate=token_users) as server:
        yield server
