"""How staged files get their names: all of them or none, durably, and without undoing anything that others did.

Rules of this file:

- All of it blocks: it runs in a thread, to its end.
- A new name is a hard link, which refuses a taken one; a replaced name is a rename, under the root's lock. Either way
  a staged file keeps its label until the end: its lock says that the backup and the replacement are live, too.
- When a later file cannot be placed, those before it are taken back, unless others have replaced them since.
"""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from headgate.config import OnConflict
from headgate.errors import NameTaken, StorageFailed
from headgate.names import numbered
from headgate.storage.entry import NO_PRECONDITION, Precondition, Published
from headgate.storage.local.catalog.usage import owner_of
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import entry_of, stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.incoming.staged_file import LocalStagedFile
from headgate.storage.quota import Possession, Possessions

__all__ = ["BACKUP", "REPLACEMENT", "Placed", "Publication"]

logger = logging.getLogger("headgate.storage")

#: What the backup of a replaced file is called until all files are placed, and the replacement before it has its name:
#: the label, and this.
BACKUP = ".old"
REPLACEMENT = ".new"

#: The error of a publication whose outcome was returned: no step of it is attempted any more.
_OVER = StorageFailed()

F = TypeVar("F", LocalStagedFile, LocalSmallFile)


@dataclass(slots=True)
class Placed:
    """A published name, and how to take it back."""

    name: str
    #: The file that was given the name. If another has it by the time, the name is not taken back.
    inode: int
    #: The name in the staging directory of the file that was replaced.
    backup: str | None = None


class Publication(Generic[F]):
    """The files of one stage, on their way to their names. `precondition` is checked for each name just before the file
    takes it. `on_placed` is called, in the thread, when all have their names durably, and may still raise."""

    #: Set by `place_new`: a file has to replace another one, so the publication runs alone, under the root's lock.
    replaces = False

    def __init__(
        self,
        disk: Disk,
        files: Sequence[F],
        on_conflict: OnConflict,
        precondition: Precondition = NO_PRECONDITION,
        on_placed: Callable[[Sequence[Published]], None] = lambda _: None,
    ) -> None:
        self._disk = disk
        self._files: Sequence[F] = files
        self._on_conflict = on_conflict
        self._precondition = precondition
        self._on_placed = on_placed
        self._placed: list[Placed] = []
        self._published: list[Published] = []
        self._error: BaseException | None = None
        #: The files that were replaced.
        self.replaced: Possessions = {}

    # Step by step, in a thread: `write`, `sync`, `place` or `place_new`, then a sync of the root, and `confirm`; at
    # last `end`.

    def attempt(self, step: "Callable[[Any], None]") -> None:
        """Do `step` with this publication, unless an earlier step has failed. Blocks, as all steps do."""
        if self._error is None:
            try:
                with translate_os_errors():
                    step(self)
            except BaseException as error:
                self._error = error

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self._files)

    def write(self) -> None:
        """Write what is still in memory."""

    def sync(self) -> None:
        """Make durable what is not yet."""
        for file in self._files:
            file.secure()

    def place(self) -> None:
        """Give all files their names, or none."""
        if self._on_conflict is not OnConflict.REPLACE:
            self._place_all(self._place)
        elif len(self._files) > 1 or not self._place_if_new():
            # Without the lock another publication could replace a name that this one takes back, and later bring back
            # itself what it replaced.
            with self._disk.root_lock():
                self._place_all(self._place, locked=True)

    def place_new(self) -> None:
        """Give all files their names where no file has these. Otherwise it `replaces`, and nothing has been done."""
        if self._on_conflict is not OnConflict.REPLACE:
            self._place_all(self._place)
        # If one of several names is taken, none is given: it would be seen for a moment, and then be gone.
        elif len(self._files) > 1 and any(self._status(file.name) is not None for file in self._files):
            self.replaces = True
        else:
            self.replaces = not self._place_if_new()

    def _place_if_new(self) -> bool:
        """Give all files their names if no file has these, and return whether that was so. Needs no lock."""
        with suppress(FileExistsError):
            self._place_all(self._put_first)
            return True
        return False

    def _place_all(self, place: Callable[[F], None], *, locked: bool = False) -> None:
        try:
            for file in self._files:
                place(file)
        except BaseException:  # at once: no other is to find a file that does not stay
            self._take_back(locked=locked)
            raise

    def confirm(self) -> None:
        """The names are durable: make out what was published."""
        self._published = [
            Published(entry_of(one.name, file.status()), one.backup is not None)
            for one, file in zip(self._placed, self._files, strict=True)
        ]
        self._on_placed(self._published)

    def end(self) -> None:
        """Clean up: the files keep their names, or they are taken back. Never raises."""
        if self._error is not None:
            self._take_back()
            return
        for one in self._placed:
            if one.backup is not None:
                unlink(one.backup, self._disk.staging)
        for file in self._files:
            file.finish()

    def fail(self, error: BaseException) -> None:
        """Do no further step: `outcome` is to raise `error`."""
        self._error = error

    def outcome(self) -> list[Published]:
        """What was published. Raises NameTaken, PreconditionFailed, StorageFull, StorageFailed."""
        error, self._error = self._error, _OVER
        try:
            if error is not None:
                raise error
        finally:
            del error  # it refers to this frame
        return self._published

    def _place(self, file: F) -> None:
        if self._on_conflict is OnConflict.REPLACE:
            self._replace(file)
        else:
            self._link(file)

    def _link(self, file: F) -> None:
        name = file.name
        while True:
            try:
                file.link(name, self._disk.root)
            except FileExistsError:
                if self._on_conflict is OnConflict.REJECT:
                    raise NameTaken(f"There is a file called {name!r} already.") from None
                name = self._free_name(file.name)
            else:
                self._placed.append(Placed(name, file.inode))
                return

    def _free_name(self, name: str) -> str:
        """A name beside `name` that no file has just now, found in few looks: twice as far each time until one is free,
        then between that one and the last that was taken."""
        taken, free = 0, 1
        while self._status(numbered(name, free)) is not None:
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            if self._status(numbered(name, middle)) is None:
                free = middle
            else:
                taken = middle
        return numbered(name, free)

    def _replace(self, file: F) -> None:
        """Give `file` its name, also if another file has it. Under the root's lock."""
        while True:
            with suppress(FileExistsError):
                self._put_first(file)
                return
            status = self._status(file.name)
            if status is not None:
                self._precondition.check(entry_of(file.name, status))
                self._put_over(file, status)
                return

    def _put_first(self, file: F) -> None:
        """Give `file` its name. Raises FileExistsError if another file has it. Needs no lock."""
        if self._precondition != NO_PRECONDITION and self._status(file.name) is not None:
            raise FileExistsError
        self._precondition.check(None)
        file.link(file.name, self._disk.root)
        self._placed.append(Placed(file.name, file.inode))

    def _put_over(self, file: F, status: os.stat_result) -> None:
        """Give `file` its name in place of what has it and is as `status` says."""
        root, staging = self._disk.root, self._disk.staging
        if stat.S_ISDIR(status.st_mode):
            raise NameTaken(f"{file.name!r} is not a file and cannot be replaced.")
        backup, replacement = file.label + BACKUP, file.label + REPLACEMENT
        for name in (replacement, backup):  # left by a process that was killed, if the file is a partial one
            unlink(name, staging)
        try:
            os.link(file.name, backup, src_dir_fd=root, dst_dir_fd=staging, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
                self.replaced[status.st_ino] = Possession(owner_of(root, file.name), status.st_size)
            file.link(replacement, staging)
            os.rename(replacement, file.name, src_dir_fd=staging, dst_dir_fd=root)
        except BaseException:
            for name in (replacement, backup):
                unlink(name, staging)
            raise
        self._placed.append(Placed(file.name, file.inode, backup))

    def _take_back(self, *, locked: bool = False) -> None:
        """Undo what was placed, but for names that another file has by now."""
        if not self._placed:
            return
        with ExitStack() as stack:
            if not locked:
                try:
                    stack.enter_context(self._disk.root_lock())
                except OSError as error:  # most likely no other is about to replace them
                    logger.error("names are taken back without the root's lock: %s", error)
            for one in reversed(self._placed):
                try:
                    self._take_one_back(one)
                except OSError as error:  # the others are to be taken back all the same
                    logger.error("%r could not be taken back: %s", one.name, error)
        self._placed.clear()
        with suppress(OSError):
            os.fsync(self._disk.root)

    def _take_one_back(self, one: Placed) -> None:
        status = self._status(one.name)
        ours = status is not None and status.st_ino == one.inode
        if ours and one.backup is not None:
            os.rename(one.backup, one.name, src_dir_fd=self._disk.staging, dst_dir_fd=self._disk.root)
        elif ours:
            os.unlink(one.name, dir_fd=self._disk.root)
        elif one.backup is not None:
            unlink(one.backup, self._disk.staging)

    def _status(self, name: str) -> os.stat_result | None:
        return stat_or_none(name, self._disk.root)
