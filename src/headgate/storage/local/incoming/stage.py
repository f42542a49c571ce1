"""The staged files of one job: created, promised room, made durable, published together, or gone.

A stage is opened for files that are expected to be small together (`SmallStage`), or for any others (`LargeStage`).

Rules of this room:

- A staged file's name exists from `create` to the end of its stage, never longer.
- The loop waits for no file system: even removing a name takes long where the journal is busy. What frees the blocks,
  the last close, may come after the stage has ended.
- What a thread began runs to its end, and its outcome is known; a cancellation is delivered afterwards.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from headgate.config import OnConflict
from headgate.errors import NameTaken
from headgate.lowlevel.cancellation import uninterrupted
from headgate.storage.entry import NO_PRECONDITION, ExpectedSize, Precondition, Published
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.reserving import RESERVE_STEP_BYTES, reserve
from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.incoming.staged_file import LocalStagedFile, create_locked
from headgate.storage.local.published.usage import record_owner, stored_owner
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.publishing.publication import Publication
from headgate.storage.local.publishing.small_publication import SmallPublication
from headgate.storage.quota import Ledger, Possession

__all__ = ["LargeStage", "LocalStage", "SmallStage"]

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

    async def _publish(
        self, publication: Publication[F], begin: "Callable[[Any], asyncio.Future[None]]"
    ) -> Sequence[Published]:
        self._publishing = True
        with Change(self._disk.changes):
            await uninterrupted(begin(publication))
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
        for file in self._files:
            await file.sync()

    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]:
        publication = Publication(self._disk, self._files, on_conflict, precondition)
        return await self._publish(publication, self._commits.begin)


class SmallStage(LocalStage[LocalSmallFile]):
    """Staged files that stay in memory until they are published, in one turn of a thread with those of others."""

    async def discard(self) -> None:
        self._close()

    async def _create(self, label: str, name: str, on_conflict: OnConflict) -> LocalSmallFile:
        return LocalSmallFile(self._disk, self._account, self._promise, self._owner, label, name)

    async def sync(self, *, required: bool = True) -> None:
        if required:
            for file in self._files:
                await file.sync()

    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]:
        publication = SmallPublication(self._disk, self._files, on_conflict, precondition)
        return await self._publish(publication, self._commits.begin_small)
