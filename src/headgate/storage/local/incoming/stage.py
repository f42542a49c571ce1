"""The staged files of one job: created, promised room, made durable, published together, or gone.

A stage is opened for files that are expected to be small together (`SmallStage`), or for any others (`LargeStage`).

Rules of this file:

- A file of a `LargeStage` has its staged name from `create` to the end of its stage, never longer.
- The loop waits for no file system: even removing a name takes long where the journal is busy. What frees the blocks,
  the last close, may come after the stage has ended.
- What a thread began runs to its end, and its outcome is known; a cancellation is delivered afterwards.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from headgate.config import OnConflict
from headgate.errors import NameTaken
from headgate.lowlevel.cancellation import uninterrupted
from headgate.storage.entry import NO_PRECONDITION, ExpectedSize, Precondition, Published
from headgate.storage.local.catalog.usage import record_owner, stored_owner
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.memory_budget import MemoryBudget
from headgate.storage.local.incoming.reserving import RESERVE_STEP_BYTES, reserve
from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.incoming.staged_file import LocalStagedFile, create_locked
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.publishing.publication import Publication
from headgate.storage.local.publishing.small_publication import SmallPublication
from headgate.storage.quota import Ledger, Possession

__all__ = ["LargeStage", "LocalStage", "SmallStage"]

#: Bytes of files in a stage up to which they are made durable by their publication, in the same turn of a thread;
#: larger ones before it, while the job can still be terminated.
LATE_SYNC_BYTES = 8 * 1024 * 1024

#: Seconds for which an upload may take memory of the budget. A client that needs longer for a file of that size is
#: slow.
MEMORY_SECONDS = 1.0

F = TypeVar("F", LocalSmallFile, LocalStagedFile)

_numbers = count()


class LocalStage(ABC, Generic[F]):
    """What both kinds of stages share. A stage is one of `open_stages` while it is open."""

    def __init__(
        self,
        disk: Disk,
        commits: GroupCommit,
        ledger: Ledger,
        open_stages: "set[LocalStage[Any]]",
        job: UUID,
        owner: str,
        expected: ExpectedSize | None,
    ) -> None:
        self._disk = disk
        self._commits = commits
        self._ledger = ledger
        self._open_stages = open_stages
        # Not the job's id alone: a client may have chosen that, and another server on this root may know it, too.
        self._prefix = f"{job}.{commits.token}"
        self._owner = stored_owner(owner)
        self._expected = expected
        self._files: list[F] = []
        self._publishing = False  # a thread has the files

    async def __aenter__(self) -> Self:
        self._account = self._ledger.open(self._owner)
        self._open_stages.add(self)
        if self._expected is not None:
            try:
                await self.reserve(self._expected)
            except BaseException:
                self._close()
                raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.discard()

    @abstractmethod
    async def discard(self) -> None:
        """Remove whatever was not published, and let go of what was promised."""

    def _close(self) -> None:
        self._open_stages.discard(self)
        if not self._publishing:
            for file in self._files:
                file.discard()
            self._files = []
        self._account.close()

    @property
    def inodes(self) -> set[int]:
        """The inodes of the staged files, also while they are being published."""
        return {file.inode for file in self._files}

    async def reserve(self, expected: ExpectedSize) -> None:
        await reserve(self._disk, self._ledger, self._account, expected)

    async def _promise(self, size: int) -> None:
        await self.reserve(ExpectedSize(size, max(size, RESERVE_STEP_BYTES)))

    async def create(self, name: str, on_conflict: OnConflict) -> F:
        if on_conflict is not OnConflict.RENAME and any(file.name == name for file in self._files):
            raise NameTaken(f"Two files of this upload are called {name!r}.")
        file = await self._create(f"{self._prefix}.{next(_numbers)}", name, on_conflict)
        self._files.append(file)
        return file

    @abstractmethod
    async def _create(self, label: str, name: str, on_conflict: OnConflict) -> F: ...

    @abstractmethod
    async def sync(self, *, required: bool = True) -> None: ...

    @abstractmethod
    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]: ...

    async def _publish(self, publication: Publication[F]) -> Sequence[Published]:
        self._publishing = True
        with Change(self._disk.changes):
            await uninterrupted(self._commits.begin(publication))
            self._publishing = False
            published = publication.outcome()
            possessions = {file.inode: Possession(self._owner, file.size) for file in self._files}
            self._account.settle(possessions, publication.replaced)
        self._files = []
        return published


class LargeStage(LocalStage[LocalStagedFile]):
    """Staged files that are written to the disk as they come, each under a name in the staging directory."""

    async def discard(self) -> None:
        if self._files:
            await uninterrupted(self._disk.run_names(self._unlink))
        self._close()

    def _unlink(self) -> None:
        for file in self._files:
            unlink(file.label, self._disk.staging)

    async def _create(self, label: str, name: str, on_conflict: OnConflict) -> LocalStagedFile:
        # Uninterrupted: a thread that creates a file for a job that is gone would leave it behind.
        return await uninterrupted(self._disk.run_names(lambda: self._create_labelled(label, name, on_conflict)))

    def _create_labelled(self, label: str, name: str, on_conflict: OnConflict) -> LocalStagedFile:
        with translate_os_errors():
            if on_conflict is OnConflict.REJECT and stat_or_none(name, self._disk.root) is not None:
                raise NameTaken(f"There is a file called {name!r} already.")
            self._disk.check_staging()
            fd = create_locked(label, self._disk.staging)
            try:
                if self._disk.can_record_owners:
                    record_owner(fd, self._owner)
                return LocalStagedFile(self._disk, self._account, self._promise, fd, label, name)
            except BaseException:
                unlink(label, self._disk.staging)
                os.close(fd)
                raise

    async def sync(self, *, required: bool = True) -> None:
        if required or sum(file.size for file in self._files) > LATE_SYNC_BYTES:
            for file in self._files:
                await file.sync()

    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]:
        for file in self._files:
            await file.flush()
        return await self._publish(Publication(self._disk, self._files, on_conflict, precondition))


class SmallStage(LocalStage[LocalSmallFile]):
    """Staged files that stay in memory until they are published, in one turn of a thread with those of others.

    Of a client that takes longer than `MEMORY_SECONDS` they are on the disk from then on, and `memory` is free.
    """

    def __init__(self, *arguments: Any, memory: MemoryBudget) -> None:
        super().__init__(*arguments)
        self._memory = memory
        self._in_memory = 0  # bytes of the budget
        self._timer: asyncio.TimerHandle | None = None
        self._spilled = False

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        most = 0 if self._expected is None else self._expected.most
        if self._memory.counts(most):
            self._in_memory = most
            self._memory.take(most)
            self._timer = asyncio.get_running_loop().call_later(MEMORY_SECONDS, self._spill)
        return self

    def _spill(self) -> None:
        if not self._publishing:
            self._spilled = True
            for file in self._files:
                file.spill()
            self._free_memory()

    def _free_memory(self) -> None:
        self._memory.give(self._in_memory)
        self._in_memory = 0

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._free_memory()
        super()._close()

    async def discard(self) -> None:
        self._close()

    async def _create(self, label: str, name: str, on_conflict: OnConflict) -> LocalSmallFile:
        file = LocalSmallFile(self._disk, self._account, self._promise, self._owner, label, name)
        if self._spilled:
            file.spill()
        return file

    async def sync(self, *, required: bool = True) -> None:
        if required:
            for file in self._files:
                await file.sync()

    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]:
        for file in self._files:
            await file.flush()
        return await self._publish(SmallPublication(self._disk, self._files, on_conflict, precondition))
