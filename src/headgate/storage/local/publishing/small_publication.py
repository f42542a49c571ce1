"""The publication of small files, which are still in memory: many of them are written, synced and named in one
batch."""

import os

from headgate.config import OnConflict
from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.publishing.publication import Publication

__all__ = ["SmallPublication"]


class SmallPublication(Publication[LocalSmallFile]):
    """As `Publication`; but its files are created by the step `write`, and may have no staged name."""

    #: A file of the batch turned out to have to replace something: it is published alone, under the root's lock.
    replaces = False

    def write(self) -> None:
        """Create the files."""
        for file in self._files:
            file.create()

    def place_new(self) -> None:
        """Give all files their names where no file has these. Otherwise it `replaces`, and nothing has been done."""
        if self._on_conflict is not OnConflict.REPLACE:
            self._place_all(self._link)
        # Of several, none is to be seen and taken back because of the next.
        elif len(self._files) > 1 and any(self._status(file.name) is not None for file in self._files):
            self.replaces = True
        else:
            self.replaces = not self._place_if_new()

    def _put_over(self, file: LocalSmallFile, status: os.stat_result) -> None:
        file.add_label()  # the names of its backup and its replacement are made of it
        super()._put_over(file, status)

    def end(self) -> None:
        super().end()
        for file in self._files:
            file.remove_label()
