"""How staged files get their names: all of them or none, durably, and without undoing anything that others did.

Rules of this room:

- It blocks; it runs in a thread, to its end.
- A new name is a hard link, which refuses a taken one; a replaced name is a rename, under the root's lock. Either way
  the staged file keeps its label until the stage ends: its lock says that whatever is called after it is live, too.
- When a later file cannot be placed, those before it are taken back, as far as they are still ours.
"""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from headgate.config import OnConflict
from headgate.errors import NameTaken
from headgate.names import numbered
from headgate.storage.census import owner_of
from headgate.storage.disk import Disk, entry_of, mapped
from headgate.storage.entry import Expect, Published, expect_anything
from headgate.storage.ledger import Possession, Possessions
from headgate.storage.staged import LocalStaged

__all__ = ["BACKUP", "REPLACEMENT", "Placed", "Publication", "unlink"]

logger = logging.getLogger("headgate.storage")

#: Where a replaced file is kept until all are placed, and where its replacement waits: these, after the label.
BACKUP = ".old"
REPLACEMENT = ".new"


def unlink(label: str, directory: int) -> None:
    """Remove a name from the staging directory, if it is there. Never raises."""
    try:
        os.unlink(label, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:  # whoever is leaving has an outcome already; a sweeper will try again
        logger.error("the staged file %s could not be removed: %s", label, error)


@dataclass(slots=True)
class Placed:
    """A published name, and how to take it back."""

    name: str
    #: The file that has the name now; if it has another by the time, the name is no longer ours to take back.
    inode: int
    #: Where the file that it replaced is kept.
    backup: str | None = None


class Publication:
    """The files of one stage, on their way to their names. `expect` looks at what each of them replaces; `placed` is
    called when all have their names, and may still raise."""

    def __init__(
        self,
        disk: Disk,
        files: Sequence[LocalStaged],
        on_conflict: OnConflict,
        expect: Expect = expect_anything,
        placed: Callable[[Sequence[Published]], None] = lambda _: None,
    ) -> None:
        self._disk = disk
        self._files = files
        self._on_conflict = on_conflict
        self._expect = expect
        self._all_placed = placed
        self._placed: list[Placed] = []
        #: What was replaced.
        self.replaced: Possessions = {}

    def run(self) -> list[Published]:
        """Publish. Raises NameTaken, PreconditionFailed, StorageFull, StorageFailed. Blocks."""
        with mapped():
            try:
                for file in self._files:
                    self._place(file)
                os.fsync(self._disk.root)
                published = [
                    Published(entry_of(one.name, file.status()), one.backup is not None)
                    for one, file in zip(self._placed, self._files, strict=True)
                ]
                self._all_placed(published)
            except BaseException:
                self._take_back()
                raise
        for one in self._placed:
            if one.backup is not None:
                unlink(one.backup, self._disk.staging)
        for file in self._files:
            unlink(file.label, self._disk.staging)
        return published

    def _place(self, file: LocalStaged) -> None:
        if self._on_conflict is OnConflict.REPLACE:
            self._replace(file)
            return
        name, number = file.name, 0
        while True:
            try:
                self._link(file.label, self._disk.staging, name, self._disk.root)
            except FileExistsError:
                if self._on_conflict is OnConflict.REJECT:
                    raise NameTaken(f"There is a file called {name!r} already.") from None
                number += 1
                name = numbered(file.name, number)
            else:
                self._placed.append(Placed(name, file.inode))
                return

    def _replace(self, file: LocalStaged) -> None:
        backup, replacement = file.label + BACKUP, file.label + REPLACEMENT
        root, staging = self._disk.root, self._disk.staging
        placed = Placed(file.name, file.inode)
        with self._disk.replacing():  # so that what is kept is what is replaced
            for name in (replacement, backup):  # of a process that was killed, if the file was kept
                unlink(name, staging)
            try:
                status = self._status(file.name)
                self._expect(None if status is None else entry_of(file.name, status))
                if status is not None:
                    if stat.S_ISDIR(status.st_mode):
                        raise NameTaken(f"{file.name!r} is not a file and cannot be replaced.")
                    self._link(file.name, root, backup, staging)
                    placed.backup = backup
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                        self.replaced[status.st_ino] = Possession(owner_of(root, file.name), status.st_size)
                self._link(file.label, staging, replacement, staging)
                os.rename(replacement, file.name, src_dir_fd=staging, dst_dir_fd=root)
            except BaseException:
                for name in (replacement, backup):
                    unlink(name, staging)
                raise
            self._placed.append(placed)

    def _take_back(self) -> None:
        """Undo what was placed, as far as it is still ours: a name that somebody has replaced since is theirs."""
        for one in reversed(self._placed):
            try:
                with self._disk.replacing():
                    status = self._status(one.name)
                    ours = status is not None and status.st_ino == one.inode
                    if ours and one.backup is not None:
                        os.rename(one.backup, one.name, src_dir_fd=self._disk.staging, dst_dir_fd=self._disk.root)
                    elif ours:
                        os.unlink(one.name, dir_fd=self._disk.root)
                    elif one.backup is not None:
                        unlink(one.backup, self._disk.staging)
            except OSError as error:  # the others are to be taken back all the same
                logger.error("%r could not be taken back: %s", one.name, error)
        with suppress(OSError):
            os.fsync(self._disk.root)

    def _status(self, name: str) -> os.stat_result | None:
        """What is published under `name`, be it a file or not; None if nothing is."""
        try:
            return os.stat(name, dir_fd=self._disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @staticmethod
    def _link(source: str, source_dir: int, target: str, target_dir: int) -> None:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
