"""A storage in a directory, for tests of what only that can get wrong."""

import pytest

from headgate.storage import LocalStorage


@pytest.fixture
async def storage(root):
    storage = LocalStorage(root)
    await storage.start()
    yield storage
    await storage.close()
