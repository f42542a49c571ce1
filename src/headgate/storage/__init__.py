"""Where files live: the contract, and a directory of this machine (`local`). Knows neither HTTP nor jobs."""

from headgate.storage.contract import PartialFile, Source, Stage, StagedFile, Storage
from headgate.storage.entry import (
    NO_PRECONDITION,
    Capabilities,
    Cursor,
    Entry,
    ExpectedSize,
    Precondition,
    Published,
    SortKey,
)
from headgate.storage.local.local_storage import LocalStorage
from headgate.storage.quota import Ledger

__all__ = [
    "NO_PRECONDITION",
    "Capabilities",
    "Cursor",
    "Entry",
    "ExpectedSize",
    "Ledger",
    "LocalStorage",
    "PartialFile",
    "Precondition",
    "Published",
    "SortKey",
    "Source",
    "Stage",
    "StagedFile",
    "Storage",
]
