"""The staged files of one job: created, promised room, made durable, published together, or gone.

Rules of this room:

- A staged file's name exists from `create` to the end of its stage, never longer.
- The loop waits for no file system: even removing a name takes long where the journal is busy. What frees the blocks,
  the last close, may come after the stage has ended.
- What a thread began runs to its end, and its outcome is known; a cancellation is delivered afterwards.
"""

import os
import time
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Self
from uuid import UUID

from headgate.config import OnConflict
from headgate.errors import NameTaken, StorageFull
from headgate.lowlevel.cancellation import uninterrupted
from headgate.storage.entry import Expect, Published, expect_anything
from headgate.storage.local.disk.disk import Disk, mapped, unlink
from headgate.storage.local.incoming.small_file import HELD, LocalSmallFile
from headgate.storage.local.incoming.staged_file import LocalStagedFile, create_locked
from headgate.storage.local.published.usage import record_owner, written
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.publishing.publication import AnyStagedFile, Publication
from headgate.storage.quota import Account, Ledger, Possession

__all__ = ["STEP", "LocalStage", "admit", "reserve"]

#: Bytes promised at once to an upload that did not tell its length: few enough that a hundred of them do not hold much
#: that they never need, and enough that the disk is not asked after every chunk.
STEP = 8 * 1024 * 1024

#: Seconds for which a measure of the disk's free space serves. What we write meanwhile is accounted for.
MEASURE = 1.0

_numbers = count()


async def reserve(disk: Disk, ledger: Ledger, account: Account, least: int, most: int) -> None:
    """Have `account` promised so many bytes of what `disk` has, as ``Stage.reserve()`` says."""
    if not most and not account.reserved:  # a file of no bytes needs a place, too
        await admit(disk, ledger, account, 0)
        return
    if time.monotonic() - ledger.measured_at < MEASURE:
        with suppress(StorageFull):  # what was freed since does not show in the last measure
            account.reserve(least, most)
            return
    ledger.measured(await disk.free(), time.monotonic())
    account.reserve(least, most)


async def admit(disk: Disk, ledger: Ledger, account: Account, beside: int) -> None:
    """See to it that `account` may have one more file, and the disk `beside` bytes of ours that no quota counts."""
    if time.monotonic() - ledger.measured_at >= MEASURE:
        ledger.measured(await disk.free(), time.monotonic())
    account.admit(beside)


class LocalStage:
    """The staged files of one job. It is one of `open_stages` while it is open."""

    def __init__(
        self, disk: Disk, commits: GroupCommit, ledger: Ledger, open_stages: "set[LocalStage]", job: UUID, owner: str
    ) -> None:
        self._disk = disk
        self._commits = commits
        self._ledger = ledger
        self._open_stages = open_stages
        # Not the job's id alone: that may be the client's choice, and another server on this root may know it too.
        self._prefix = f"{job}.{commits.token}"
        self._owner = written(owner)
        self._files: list[AnyStagedFile] = []
        self._publishing = False  # a thread has the files

    async def __aenter__(self) -> Self:
        self._account = self._ledger.open(self._owner)
        self._open_stages.add(self)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if any(isinstance(file, LocalStagedFile) for file in self._files):
            await uninterrupted(self._disk.run_names(self.unlink))
        self.close()

    def unlink(self) -> None:
        """Remove the names of whatever was not published. Blocks."""
        for file in self._files:
            if isinstance(file, LocalStagedFile):
                unlink(file.label, self._disk.staging)

    def close(self) -> None:
        """Let go of the files and of what was promised."""
        self._open_stages.discard(self)
        if not self._publishing:
            for file in self._files:
                file.discard()
            self._files = []
        self._account.close()

    @property
    def inodes(self) -> set[int]:
        """The staged files, whether they have their published names already or not."""
        return {file.inode for file in self._files}

    @property
    def held(self) -> bool:
        """Is all of it so small that publishing it makes it, and makes it durable, as well? The first file decides."""
        if self._files:
            return isinstance(self._files[0], LocalSmallFile)
        return self._disk.knows_unnamed and 0 < self._account.reserved <= HELD

    async def reserve(self, least: int, most: int) -> None:
        await reserve(self._disk, self._ledger, self._account, least, most)

    async def _promise(self, size: int) -> None:
        await self.reserve(size, max(size, STEP))

    async def create(self, name: str, on_conflict: OnConflict) -> AnyStagedFile:
        if on_conflict is not OnConflict.RENAME and any(file.name == name for file in self._files):
            raise NameTaken(f"Two files of this upload are called {name!r}.")
        label = f"{self._prefix}.{next(_numbers)}"
        if self.held:
            held = LocalSmallFile(self._disk, self._account, self._promise, self._owner, label, name)
            self._files.append(held)
            return held
        # Uninterrupted: a thread that creates a file for a job that is gone would leave it behind.
        file = await uninterrupted(self._disk.run_names(lambda: self._create(label, name, on_conflict)))
        self._files.append(file)
        return file

    def _create(self, label: str, name: str, on_conflict: OnConflict) -> LocalStagedFile:
        with mapped():
            if on_conflict is OnConflict.REJECT and self._is_taken(name):
                raise NameTaken(f"There is a file called {name!r} already.")
            self._disk.check_staging()
            fd = create_locked(label, self._disk.staging)
            try:
                if self._disk.knows_owners:
                    record_owner(fd, self._owner)
                return LocalStagedFile(self._disk, self._account, self._promise, fd, label, name)
            except BaseException:
                unlink(label, self._disk.staging)
                os.close(fd)
                raise

    def _is_taken(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    async def sync(self) -> None:
        for file in self._files:
            await file.sync()

    async def publish(self, on_conflict: OnConflict, expect: Expect = expect_anything) -> list[Published]:
        publication = Publication(self._disk, self._files, on_conflict, expect)
        self._publishing = True
        with Change(self._disk.changes):
            await uninterrupted(self._commits.begin(publication))
            self._publishing = False
            done = publication.outcome()
            published = {file.inode: Possession(self._owner, file.size) for file in self._files}
            self._account.settle(published, publication.replaced)
        self._files = []
        return done
