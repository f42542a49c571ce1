"""What the nodes of one service share: which jobs there are, and how one is commanded wherever it runs.

`JobDirectory` is the contract; `LocalJobDirectory` serves one process.
"""

from headgate.cluster.directory import (
    Command,
    JobDirectory,
    JobWatcher,
    Pause,
    Resume,
    SetRate,
    Terminate,
)
from headgate.cluster.local_directory import LocalJobDirectory

__all__ = [
    "Command",
    "JobDirectory",
    "JobWatcher",
    "LocalJobDirectory",
    "Pause",
    "Resume",
    "SetRate",
    "Terminate",
]
