"""The storages on which the contract is held, and what its tests do to each of them."""

from collections import defaultdict
from contextlib import asynccontextmanager
from uuid import uuid4

from headgate.config import OnConflict
from headgate.errors import FileNotFound
from headgate.storage import LocalStorage
from memory_storage import MemoryStorage, Place

REJECT, RENAME, REPLACE = OnConflict.REJECT, OnConflict.RENAME, OnConflict.REPLACE

_places = defaultdict(Place)

#: Each makes a storage; those of one path have the same files.
STORAGES = {
    "local": lambda tmp_path: LocalStorage(tmp_path / "root"),
    "memory": lambda tmp_path: MemoryStorage(_places[tmp_path]),
}


@asynccontextmanager
async def staged(storage, *files, on_conflict=REJECT):
    """A stage that has `files`, pairs of name and content."""
    async with storage.stage(uuid4(), "alice") as stage:
        for name, data in files:
            file = await stage.create(name, on_conflict)
            for start in range(0, len(data), 1000):
                await file.write(data[start : start + 1000])
            assert (file.name, file.size) == (name, len(data))
        yield stage


async def put(storage, *files, on_conflict=REJECT):
    async with staged(storage, *files, on_conflict=on_conflict) as stage:
        await stage.sync()
        return [each.entry.name for each in await stage.publish(on_conflict)]


async def get(storage, name):
    """The content of a published file, or None."""
    try:
        source = await storage.open(name)
    except FileNotFound:
        return None
    async with source:
        data = await source.read(0, source.size + 1)
        assert len(data) == source.size
        return data
