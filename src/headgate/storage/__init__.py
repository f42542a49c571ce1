"""Where files live: the contract in `base`, and a directory of this machine in `local`. Knows neither HTTP nor jobs."""

from headgate.storage.base import Entry, Source, Stage, Staged, Storage
from headgate.storage.local import LocalStorage

__all__ = ["Entry", "LocalStorage", "Source", "Stage", "Staged", "Storage"]
