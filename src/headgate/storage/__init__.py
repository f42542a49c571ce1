"""Where files live: the contract in `base`, and a directory of this machine in `local`. Knows neither HTTP nor jobs."""

from headgate.storage.contract import PartialFile, Source, Stage, StagedFile, Storage
from headgate.storage.entry import Cursor, Entry, Expect, Published, SortKey, expect_anything
from headgate.storage.local.local_storage import LocalStorage

__all__ = [
    "Cursor",
    "Entry",
    "Expect",
    "LocalStorage",
    "PartialFile",
    "Published",
    "SortKey",
    "Source",
    "Stage",
    "StagedFile",
    "Storage",
    "expect_anything",
]
