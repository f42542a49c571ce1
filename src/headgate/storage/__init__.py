"""Where files live: the contract in `base`, and a directory of this machine in `local`. Knows neither HTTP nor jobs."""

from headgate.storage.base import Kept, Source, Stage, Staged, Storage
from headgate.storage.entry import Entry, Expect, Order, Place, Published, expect_anything
from headgate.storage.local import LocalStorage

__all__ = [
    "Entry",
    "Expect",
    "Kept",
    "LocalStorage",
    "Order",
    "Place",
    "Published",
    "Source",
    "Stage",
    "Staged",
    "Storage",
    "expect_anything",
]
