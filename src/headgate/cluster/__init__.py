"""What the nodes of one service share: which jobs there are, and how one is commanded wherever it runs.

`JobDirectory` and `UploadLockManager` are the contracts; `LocalJobDirectory` and `InProcessLockManager` serve one
process.
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
from headgate.cluster.upload_locks import InProcessLockManager, UploadLock, UploadLockManager

__all__ = [
    "Command",
    "InProcessLockManager",
    "JobDirectory",
    "JobWatcher",
    "LocalJobDirectory",
    "Pause",
    "Resume",
    "SetRate",
    "Terminate",
    "UploadLock",
    "UploadLockManager",
]
