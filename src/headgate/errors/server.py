"""Errors of which the server, or its machine, is the cause."""

from headgate.errors.base import HeadgateError

__all__ = ["Busy", "ExportFailed", "NotReady", "ServerError", "StillEnding", "StorageFailed", "StorageFull"]


class ServerError(HeadgateError):
    """The request was right; the same one may succeed later."""

    code, status, title = "internal-error", 500, "The server failed"


class ExportFailed(ServerError):
    """The code of a generated export raised an exception, which is the ``__cause__``."""

    code, status, title = "export-failed", 500, "The export failed"


class StorageFailed(ServerError):
    """The storage failed for another reason than being full; the ``__cause__`` tells."""

    code, status, title = "storage-failed", 500, "The storage failed"


class Busy(ServerError):
    """As many jobs or watchers as allowed are live. Not logged as an error: it is not one."""

    code, status, title, retry_after = "busy", 503, "The server has too many transfers running", 5


class NotReady(ServerError):
    """The storage cannot be written to. Said by ``GET /readyz``."""

    code, status, title, retry_after = "not-ready", 503, "The storage cannot be written to", 5


class StillEnding(ServerError):
    """A terminate call waited for `Config.terminate_timeout`, and the job's own code has not ended yet; it will."""

    code, status, title = "still-ending", 503, "The job was told to end and has not ended yet"


class StorageFull(ServerError):
    """The disk has no room for the upload. A plain upload ends; a resumable one keeps its bytes and may go on later."""

    code, status, title = "storage-full", 507, "The storage is full"
