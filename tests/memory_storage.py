"""A storage in memory, made of nothing but what ``import headgate`` has: as a foreign storage would be.

It keeps the whole contract but for outliving the process; several storages of one `Place` see the same files.
"""

import hashlib
import itertools
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import headgate
from headgate import (
    NO_PRECONDITION,
    Capabilities,
    Entry,
    FileNotFound,
    JobIdTaken,
    NameTaken,
    OnConflict,
    Published,
    SortKey,
    UploadGone,
    numbered,
)

_tags = itertools.count(1)


@dataclass
class Unfinished:
    """What there is of a partial file."""

    owner: str
    record: str
    data: bytearray | None = field(default_factory=bytearray)
    changed_at: float = field(default_factory=time.time)
    chunk_start: int | None = None
    published: Published | None = None


@dataclass
class Place:
    """The files that storages of this place have together."""

    files: dict[str, tuple[Entry, bytes]] = field(default_factory=dict)
    partials: dict[UUID, Unfinished] = field(default_factory=dict)

    def publish(self, files, on_conflict, precondition) -> list[Published]:
        """All of `files`, names and contents, or none."""
        placed, published = dict(self.files), []
        for wanted, data in files:
            name, there = wanted, placed.get(wanted)
            if on_conflict is OnConflict.REPLACE:
                precondition.check(None if there is None else there[0])
            elif there is not None and on_conflict is OnConflict.REJECT:
                raise NameTaken(f"There is a file called {wanted!r} already.")
            else:
                number = 0
                while name in placed:
                    number += 1
                    name = numbered(wanted, number)
            entry = Entry(name, len(data), datetime.now(UTC), f"{next(_tags):x}")
            placed[name] = entry, bytes(data)
            published.append(Published(entry, replaced=there is not None and name == wanted))
        self.files = placed
        return published


class MemoryStagedFile:
    def __init__(self, name: str) -> None:
        self.name = name
        self.data = bytearray()

    @property
    def size(self) -> int:
        return len(self.data)

    async def write(self, data: headgate.Data) -> None:
        self.data += data

    async def flush(self) -> None:
        """Return at once: `write` has copied the bytes."""


class MemoryStage:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._files: list[MemoryStagedFile] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._files = []

    async def reserve(self, expected: headgate.ExpectedSize) -> None:
        """There is room for everything."""

    async def create(self, name: str, on_conflict: OnConflict) -> MemoryStagedFile:
        taken = on_conflict is OnConflict.REJECT and name in self._place.files
        if taken or (on_conflict is not OnConflict.RENAME and any(file.name == name for file in self._files)):
            raise NameTaken(f"There is a file called {name!r} already.")
        self._files.append(MemoryStagedFile(name))
        return self._files[-1]

    async def sync(self, *, required: bool = True) -> None:
        """Memory is as durable as it gets."""

    async def publish(self, on_conflict, precondition=NO_PRECONDITION):
        files = [(file.name, bytes(file.data)) for file in self._files]
        return self._place.publish(files, on_conflict, precondition)


class MemoryPartialFile:
    def __init__(self, place: Place, id_: UUID) -> None:
        self._place = place
        self._all = place.partials[id_]
        self._entered_size = 0
        self.id = id_

    @property
    def owner(self) -> str:
        return self._all.owner

    @property
    def record(self) -> str:
        return self._all.record

    @property
    def size(self) -> int | None:
        return None if self._all.data is None else len(self._all.data)

    @property
    def changed_at(self) -> float:
        return self._all.changed_at

    @property
    def published(self) -> Published | None:
        return self._all.published

    @property
    def _data(self) -> bytearray:
        if self._all.data is None:
            raise UploadGone
        return self._all.data

    async def __aenter__(self) -> Self:
        await self.refresh()
        if self._all.chunk_start is not None:
            await self.roll_back()
        self._entered_size = len(self._data)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """What it has stays."""

    async def reserve(self, expected: headgate.ExpectedSize) -> None:
        """There is room for everything."""

    async def write(self, data: headgate.Data) -> None:
        self._data.extend(data)
        self._all.changed_at = time.time()

    async def wait_for_writes(self) -> None:
        """No write takes a turn of the loop."""

    async def begin_chunk(self) -> None:
        self._all.chunk_start = len(self._data)

    async def confirm_chunk(self) -> None:
        self._all.chunk_start = None

    async def roll_back(self) -> None:
        start = self._entered_size if self._all.chunk_start is None else self._all.chunk_start
        del self._data[start:]
        self._all.chunk_start = None

    async def clear(self) -> None:
        self._data.clear()

    async def append(self, other: "MemoryPartialFile") -> None:
        self._data.extend(bytes(other._data))

    async def digests(self, algorithms) -> dict[str, bytes]:
        return {algorithm: hashlib.new(algorithm, self._data).digest() for algorithm in algorithms}

    async def sync(self) -> None:
        """Memory is as durable as it gets."""

    async def publish(self, name, on_conflict, record, precondition=NO_PRECONDITION) -> Published:
        (published,) = self._place.publish([(name, bytes(self._data))], on_conflict, precondition)
        self._all.record, self._all.published, self._all.data = record, published, None
        self._all.changed_at = time.time()
        return published

    async def refresh(self) -> None:
        self._all = self._place.partials.get(self.id, replace(self._all, data=None))
        if self._all.data is None:
            raise UploadGone

    async def update_record(self, record: str, *, durably: bool = True) -> None:
        self._all.record = record

    async def touch(self) -> None:
        self._all.changed_at = time.time()

    async def delete_bytes(self) -> None:
        self._all.data = None

    async def discard(self) -> None:
        self._all.data = None
        self._place.partials.pop(self.id, None)

    def release(self) -> None:
        """Nothing was promised."""


class MemorySource:
    file = None

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry, self._data = entry, data
        self.size = entry.size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Nothing is open."""

    async def ready(self, offset: int, size: int) -> None:
        """Memory is always ready."""

    async def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    async def stream(self, start: int, end: int):
        if end > self.size:
            raise headgate.StorageFailed("The file is shorter.")
        for offset in range(start, end, 1000):
            yield self._data[offset : min(offset + 1000, end)]


class MemoryStorage:
    capabilities = Capabilities(
        max_files_per_stage=100, sort_keys=frozenset(SortKey), descending=True, concatenation=True
    )

    def __init__(self, place: Place) -> None:
        self._place = place

    async def start(self) -> None:
        """There is nothing to get ready."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def check(self) -> None:
        """There is room for everything."""

    def stage(self, job: UUID, owner: str, expected: headgate.ExpectedSize | None = None) -> MemoryStage:
        return MemoryStage(self._place)

    async def create_partial(self, id: UUID, owner: str, record: str) -> MemoryPartialFile:  # noqa: A002 - the contract
        if id in self._place.partials:
            raise JobIdTaken
        self._place.partials[id] = Unfinished(owner, record)
        return MemoryPartialFile(self._place, id)

    async def find_partial(self, id: UUID) -> MemoryPartialFile | None:  # noqa: A002 - the contract
        return MemoryPartialFile(self._place, id) if id in self._place.partials else None

    async def list_partials(self) -> list[UUID]:
        return [id_ for id_, partial in self._place.partials.items() if partial.data is not None]

    async def open(self, name: str) -> MemorySource:
        if name not in self._place.files:
            raise FileNotFound(f"There is no file called {name!r}.")
        return MemorySource(*self._place.files[name])

    async def stat(self, name: str) -> Entry | None:
        return self._place.files[name][0] if name in self._place.files else None

    async def list(self, after, limit: int, sort_key: SortKey = SortKey.NAME, *, descending: bool = False):
        entries = sorted((entry for entry, _ in self._place.files.values()), key=sort_key.cursor, reverse=descending)
        if after is not None:
            entries = [
                entry
                for entry in entries
                if (sort_key.cursor(entry) < after if descending else sort_key.cursor(entry) > after)
            ]
        return entries[:limit]

    async def delete(self, name: str, precondition: headgate.Precondition = NO_PRECONDITION) -> None:
        if name not in self._place.files:
            raise FileNotFound(f"There is no file called {name!r}.")
        precondition.check(self._place.files[name][0])
        del self._place.files[name]
