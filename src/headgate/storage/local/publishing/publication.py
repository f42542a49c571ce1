"""How staged files get their names: all of them or none, durably, and without undoing anything that others did.

Rules of this room:

- It blocks; it runs in a thread, to its end.
- A new name is a hard link, which refuses a taken one; a replaced name is a rename, under the root's lock. Either way
  a staged file that has a label keeps it until the end: its lock says that whatever is called after it is live, too.
- When a later file cannot be placed, those before it are taken back, as far as they are still ours.
"""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from headgate.config import OnConflict
from headgate.errors import NameTaken, StorageFailed
from headgate.names import numbered
from headgate.storage.entry import Expect, Published, expect_anything
from headgate.storage.local.disk.disk import Disk, entry_of, mapped, unlink
from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.incoming.staged_file import LocalStagedFile
from headgate.storage.local.published.usage import owner_of
from headgate.storage.quota import Possession, Possessions

__all__ = ["BACKUP", "REPLACEMENT", "AnyStagedFile", "Placed", "Publication"]

logger = logging.getLogger("headgate.storage")

#: Where a replaced file is kept until all are placed, and where its replacement waits: these, after the label.
BACKUP = ".old"
REPLACEMENT = ".new"


#: Whatever was to be done of a publication whose outcome was told is not done any more.
_OVER = StorageFailed()

#: Either kind of a staged file.
AnyStagedFile = LocalStagedFile | LocalSmallFile


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
        files: Sequence[AnyStagedFile],
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
        self._published: list[Published] = []
        self._error: BaseException | None = None
        #: It has to replace something, which not many can do at once.
        self.replaces = False
        #: What was replaced.
        self.replaced: Possessions = {}

    @property
    def held(self) -> bool:
        """Is everything still in memory?"""
        return all(isinstance(file, LocalSmallFile) for file in self._files)

    # Step by step, in a thread: `write`, `sync`, `place`, then a sync of the root, and `confirm`; at last `end`.

    def attempt(self, step: "Callable[[Publication], None]") -> None:
        """Do `step`, if all went well so far. Blocks, as all steps do."""
        if self._error is None:
            try:
                with mapped():
                    step(self)
            except BaseException as error:
                self._error = error

    def write(self) -> None:
        """Make what was held."""
        for file in self._files:
            file.make()

    def sync(self) -> None:
        """Make durable what was not yet."""
        for file in self._files:
            file.secure()

    def place(self) -> None:
        """Give all files their names, or none."""
        if self._on_conflict is not OnConflict.REPLACE:
            self._place_all(self._place)
        elif len(self._files) > 1 or not self._is_new():
            with self._disk.replacing():  # what is taken back, nobody is to have replaced, and then to bring back
                self._place_all(self._place, locked=True)

    def place_new(self) -> None:
        """The same where the names are nobody's. Otherwise it `replaces`, and nothing has been done."""
        if self._on_conflict is not OnConflict.REPLACE:
            self._place_all(self._link)
        # Of several, none is to be seen and taken back because of the next.
        elif len(self._files) > 1 and any(self._status(file.name) is not None for file in self._files):
            self.replaces = True
        else:
            self.replaces = not self._is_new()

    def _is_new(self) -> bool:
        """Give all files their names if these are nobody's. That needs no lock."""
        with suppress(FileExistsError):
            self._place_all(self._put_first)
            return True
        return False

    def _place_all(self, place: Callable[[AnyStagedFile], None], *, locked: bool = False) -> None:
        try:
            for file in self._files:
                place(file)
        except BaseException:  # now: whoever comes next is not to find what is not there to stay
            self._take_back(locked=locked)
            raise

    def confirm(self) -> None:
        """The names are durable."""
        self._published = [
            Published(entry_of(one.name, file.status()), one.backup is not None)
            for one, file in zip(self._placed, self._files, strict=True)
        ]
        self._all_placed(self._published)

    def end(self) -> None:
        """Clean up: what was placed stays, or is taken back. Never raises."""
        if self._error is not None:
            self._take_back()
            for file in self._files:
                file.drop_held_label()
            return
        for one in self._placed:
            if one.backup is not None:
                unlink(one.backup, self._disk.staging)
        for file in self._files:
            file.finish()

    def fail(self, error: BaseException) -> None:
        """It cannot be done."""
        self._error = error

    def outcome(self) -> list[Published]:
        """What was published. Raises NameTaken, PreconditionFailed, StorageFull, StorageFailed."""
        error, self._error = self._error, _OVER
        try:
            if error is not None:
                raise error
        finally:
            del error  # it has this frame, which would have it
        return self._published

    def _place(self, file: AnyStagedFile) -> None:
        if self._on_conflict is OnConflict.REPLACE:
            self._replace(file)
        else:
            self._link(file)

    def _link(self, file: AnyStagedFile) -> None:
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
        """A name beside `name` that nobody has just now, found in few looks: twice as far each time until one is free,
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

    def _replace(self, file: AnyStagedFile) -> None:
        """Give `file` its name, whoever has it. Under the root's lock."""
        while True:
            with suppress(FileExistsError):
                self._put_first(file)
                return
            status = self._status(file.name)
            if status is not None:
                self._expect(entry_of(file.name, status))
                self._put_over(file, status)
                return

    def _put_first(self, file: AnyStagedFile) -> None:
        """Give `file` its name, which needs no lock. Raises FileExistsError if it is somebody's."""
        if self._expect is not expect_anything and self._status(file.name) is not None:
            raise FileExistsError
        self._expect(None)
        file.link(file.name, self._disk.root)
        self._placed.append(Placed(file.name, file.inode))

    def _put_over(self, file: AnyStagedFile, status: os.stat_result) -> None:
        """Give `file` its name in place of what has it and is as `status` says."""
        root, staging = self._disk.root, self._disk.staging
        if stat.S_ISDIR(status.st_mode):
            raise NameTaken(f"{file.name!r} is not a file and cannot be replaced.")
        file.give_label()
        backup, replacement = file.label + BACKUP, file.label + REPLACEMENT
        for name in (replacement, backup):  # of a process that was killed, if the file was kept
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
        """Undo what was placed, as far as it is still ours: a name that somebody has replaced since is theirs."""
        if not self._placed:
            return
        with ExitStack() as stack:
            if not locked:
                try:
                    stack.enter_context(self._disk.replacing())
                except OSError as error:  # most likely nobody is about to replace them
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
        """What is published under `name`, be it a file or not; None if nothing is."""
        try:
            return os.stat(name, dir_fd=self._disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None
