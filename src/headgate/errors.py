"""Everything that headgate refuses or gives up, as one tree.

Rules of this room:

- It imports nothing. An error knows its stable ``code``, its HTTP ``status`` and its ``title``; only
  ``web/problems.py`` turns one into a response, and only the storage and transfer seams turn foreign exceptions into
  one.
- ``detail`` is written for the person who meets it and is sent to clients: no paths, no internals.
- A code, once released, keeps its meaning; clients switch on it.

::

    HeadgateError
    ├── ConfigError                  a setting that cannot stand (never sent; raised at start)
    ├── StorageUnusable              a root on which the guarantees cannot be kept (never sent; raised at start)
    ├── ClientError                  the request is at fault
    │   ├── MalformedRequest         400 malformed-request
    │   ├── MalformedBody            400 malformed-body
    │   ├── DigestMismatch           400 digest-mismatch
    │   ├── NoFiles                  400 no-files
    │   ├── Unauthorized             401 unauthorized
    │   ├── Forbidden                403 forbidden
    │   ├── JobNotFound              404 no-such-job
    │   ├── NothingUploading         404 not-uploading
    │   ├── NothingExporting         404 not-exporting
    │   ├── FileNotFound             404 no-such-file
    │   ├── JobIdTaken               409 job-id-taken
    │   ├── NameTaken                409 name-taken
    │   ├── AlreadyFinished          409 already-finished
    │   ├── PreconditionFailed       412 precondition-failed
    │   ├── TooLarge                 413 too-large
    │   ├── UnsupportedMedia         415 unsupported-media
    │   ├── RangeNotSatisfiable      416 range-not-satisfiable
    │   ├── ExpectationFailed        417 expectation-failed
    │   ├── InvalidName              422 invalid-name
    │   ├── InvalidOption            422 invalid-option
    │   ├── Refused                  422 refused
    │   ├── TooManyJobs              429 too-many-jobs
    │   └── QuotaExceeded            507 quota-exceeded
    ├── JobStopped                   why a job's task was cancelled; raised in place of CancelledError
    │   ├── Terminated               409 terminated
    │   ├── MalformedTransfer        400 malformed-transfer
    │   ├── IdleTimeout              408 idle-timeout
    │   ├── TooSlow                  408 too-slow
    │   ├── Disconnected             499 disconnected (nobody is left to read it)
    │   └── ShuttingDown             503 shutdown
    └── ServerError                  we are at fault, or the machine
        ├── ExportFailed             500 export-failed
        ├── StorageFailed            500 storage-failed
        ├── Busy                     503 busy
        ├── StillEnding              503 still-ending
        └── StorageFull              507 storage-full
"""

from typing import ClassVar

__all__ = [
    "AlreadyFinished", "Busy", "ClientError", "ConfigError", "DigestMismatch", "Disconnected", "ExpectationFailed",
    "ExportFailed", "FileNotFound", "Forbidden", "HeadgateError", "IdleTimeout", "InvalidName", "InvalidOption",
    "JobIdTaken", "JobNotFound", "JobStopped", "MalformedBody", "MalformedRequest", "MalformedTransfer",
    "NameTaken", "NoFiles", "NothingExporting", "NothingUploading", "PreconditionFailed", "QuotaExceeded",
    "RangeNotSatisfiable", "Refused", "ServerError", "ShuttingDown", "StillEnding", "StorageFailed", "StorageFull",
    "StorageUnusable", "Terminated", "TooLarge", "TooManyJobs", "TooSlow", "Unauthorized", "UnsupportedMedia",
]  # fmt: skip


class HeadgateError(Exception):
    """The root of the tree. ``str(error)`` is its detail, or its title where there is none."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The server failed"

    #: Seconds after which the same request may fare better (RFC 9110, 10.2.3); None where waiting does not help.
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail


class ConfigError(HeadgateError):
    code, title = "bad-config", "The configuration cannot stand"


class StorageUnusable(HeadgateError):
    code, title = "storage-unusable", "The storage cannot keep headgate's guarantees"


class ClientError(HeadgateError):
    """The request is at fault; the same request again meets the same answer until something changes."""

    code, status, title = "bad-request", 400, "The request is at fault"


class MalformedRequest(ClientError):
    code, status, title = "malformed-request", 400, "The request is malformed"


class MalformedBody(ClientError):
    code, status, title = "malformed-body", 400, "The body is malformed or ends early"


class DigestMismatch(ClientError):
    code, status, title = "digest-mismatch", 400, "The content does not have the digest that was sent with it"


class NoFiles(ClientError):
    code, status, title = "no-files", 400, "The form carries no file"


class Unauthorized(ClientError):
    code, status, title = "unauthorized", 401, "A valid token is needed"


class Forbidden(ClientError):
    code, status, title = "forbidden", 403, "This is not allowed from there"


class JobNotFound(ClientError):
    code, status, title = "no-such-job", 404, "There is no such job"


class NothingUploading(ClientError):
    code, status, title = "not-uploading", 404, "You are not uploading anything currently."


class NothingExporting(ClientError):
    code, status, title = "not-exporting", 404, "You are not exporting any file currently."


class FileNotFound(ClientError):
    code, status, title = "no-such-file", 404, "There is no such file"


class JobIdTaken(ClientError):
    code, status, title = "job-id-taken", 409, "The job id is taken"


class NameTaken(ClientError):
    code, status, title = "name-taken", 409, "The name is taken"


class AlreadyFinished(ClientError):
    code, status, title = "already-finished", 409, "The job has already finished"


class PreconditionFailed(ClientError):
    code, status, title = "precondition-failed", 412, "What is there is not what the request expects"


class TooLarge(ClientError):
    """Final: the same bytes will never fit. Clients must not retry."""

    code, status, title = "too-large", 413, "Too large"


class UnsupportedMedia(ClientError):
    code, status, title = "unsupported-media", 415, "The body's type or encoding is not supported"


class RangeNotSatisfiable(ClientError):
    code, status, title = "range-not-satisfiable", 416, "The range lies outside of the content"

    def __init__(self, size: int) -> None:
        super().__init__(f"There are {size} bytes.")
        #: Bytes of the whole content.
        self.size = size


class ExpectationFailed(ClientError):
    code, status, title = "expectation-failed", 417, "Only 'Expect: 100-continue' is understood"


class InvalidName(ClientError):
    code, status, title = "invalid-name", 422, "The file name is not allowed"


class InvalidOption(ClientError):
    code, status, title = "invalid-option", 422, "An option has a value that is not allowed"


class Refused(ClientError):
    """The service that embeds headgate refused the upload; the detail is its own message."""

    code, status, title = "refused", 422, "The upload was refused"


class TooManyJobs(ClientError):
    """The owner's own jobs are too many. Most end within seconds."""

    code, status, title, retry_after = "too-many-jobs", 429, "You have too many transfers running", 5


class QuotaExceeded(ClientError):
    """Final as far as this upload goes: nothing of it is kept, and waiting does not help."""

    code, status, title = "quota-exceeded", 507, "The quota is used up"


class JobStopped(HeadgateError):
    """Why a transfer could not go on, though neither the request nor the server is at fault.

    Where it comes from outside the job's task, it is written on the job before the task is cancelled, and raised in
    place of the ``CancelledError`` once everything of the job is gone. Where the task meets it itself, it raises it.
    """

    code, status, title = "stopped", 409, "The job was stopped"

    #: Who ended the job: a user's name, or None where no person did.
    by: str | None = None


class Terminated(JobStopped):
    code, status, title = "terminated", 409, "The job was terminated"

    def __init__(self, by: str) -> None:
        super().__init__(f"The job was terminated by {by}; nothing of it is kept.")
        self.by = by


class MalformedTransfer(JobStopped):
    code, status, title = "malformed-transfer", 400, "The body's transfer encoding is malformed"


class IdleTimeout(JobStopped):
    code, status, title = "idle-timeout", 408, "The client sent or took nothing for too long"


class TooSlow(JobStopped):
    code, status, title = "too-slow", 408, "The client sends or takes too slowly"


class Disconnected(JobStopped):
    code, status, title = "disconnected", 499, "The client went away"


class ShuttingDown(JobStopped):
    #: By then another server has taken over, or this one is back.
    code, status, title, retry_after = "shutdown", 503, "The server is shutting down", 5


class ServerError(HeadgateError):
    code, status, title = "internal-error", 500, "The server failed"


class ExportFailed(ServerError):
    code, status, title = "export-failed", 500, "The export failed"


class StorageFailed(ServerError):
    code, status, title = "storage-failed", 500, "The storage failed"


class Busy(ServerError):
    """Too much runs already. Not a fault: it is not logged as one."""

    code, status, title, retry_after = "busy", 503, "The server has too many transfers running", 5


class StillEnding(ServerError):
    code, status, title = "still-ending", 503, "The job was told to end and has not ended yet"


class StorageFull(ServerError):
    """Final as far as this upload goes: nothing of it is kept."""

    code, status, title = "storage-full", 507, "The storage is full"
