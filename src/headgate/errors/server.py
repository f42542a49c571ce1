"""We are at fault, or the machine."""

from headgate.errors.base import HeadgateError

__all__ = ["Busy", "ExportFailed", "NotReady", "ServerError", "StillEnding", "StorageFailed", "StorageFull"]


class ServerError(HeadgateError):
    code, status, title = "internal-error", 500, "The server failed"


class ExportFailed(ServerError):
    code, status, title = "export-failed", 500, "The export failed"


class StorageFailed(ServerError):
    code, status, title = "storage-failed", 500, "The storage failed"


class Busy(ServerError):
    """Too much runs already. Not a fault: it is not logged as one."""

    code, status, title, retry_after = "busy", 503, "The server has too many transfers running", 5


class NotReady(ServerError):
    code, status, title, retry_after = "not-ready", 503, "The storage cannot be written to", 5


class StillEnding(ServerError):
    code, status, title = "still-ending", 503, "The job was told to end and has not ended yet"


class StorageFull(ServerError):
    """Final as far as this upload goes: nothing of it is kept."""

    code, status, title = "storage-full", 507, "The storage is full"
