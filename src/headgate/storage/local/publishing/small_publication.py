"""The publication of small files, whose bytes are still in memory, or in a file without a name."""

import os

from headgate.storage.local.incoming.small_file import LocalSmallFile
from headgate.storage.local.publishing.publication import Publication

__all__ = ["SmallPublication"]


class SmallPublication(Publication[LocalSmallFile]):
    """As `Publication`; but its files are created by the step `write`, and may have no staged name."""

    def write(self) -> None:
        """Create the files."""
        for file in self._files:
            file.create()

    def _put_over(self, file: LocalSmallFile, status: os.stat_result) -> None:
        file.add_label()  # the names of its backup and its replacement are made of it
        super()._put_over(file, status)

    def end(self) -> None:
        super().end()
        for file in self._files:
            file.remove_label()
