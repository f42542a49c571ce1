"""All errors that headgate raises, as one tree.

An error has a stable ``code``, an HTTP ``status``, a ``title``, and a ``detail`` of the one case. Only
``web/middleware/problems.py`` makes an answer of one; only the storage and the transfer rooms translate foreign
exceptions (OSError, aiohttp's) into one.

Rules of this room:

- It imports nothing else of headgate.
- A detail is written for the person who reads it, and is sent to clients: no paths, no internals.
- A code, once released, keeps its meaning: clients decide by it.

::

    HeadgateError
    ├── ConfigError                  a setting that is not allowed (never sent; raised at start)
    ├── StorageUnusable              a root on which the guarantees cannot be kept (never sent; raised at start)
    ├── ClientError                  the request is at fault
    │   ├── MalformedRequest         400 malformed-request
    │   ├── MalformedBody            400 malformed-body
    │   ├── DigestMismatch           400 digest-mismatch
    │   ├── InconsistentLength       400 inconsistent-upload-length
    │   ├── NoFiles                  400 no-files
    │   ├── Unauthorized             401 unauthorized
    │   ├── Forbidden                403 forbidden
    │   ├── Unreadable               403 unreadable-file
    │   ├── FinalUpload              403 final-upload
    │   ├── JobNotFound              404 no-such-job
    │   ├── UploadNotFound           404 no-such-upload
    │   ├── NothingUploading         404 not-uploading
    │   ├── NothingExporting         404 not-exporting
    │   ├── FileNotFound             404 no-such-file
    │   ├── JobIdTaken               409 job-id-taken
    │   ├── NameTaken                409 name-taken
    │   ├── AlreadyFinished          409 already-finished
    │   ├── FileChanged              409 file-changed
    │   ├── OffsetMismatch           409 mismatching-upload-offset
    │   ├── UploadGone               410 upload-gone
    │   ├── PreconditionFailed       412 precondition-failed
    │   ├── UnsupportedVersion       412 unsupported-version
    │   ├── TooLarge                 413 too-large
    │   ├── UnsupportedMedia         415 unsupported-media
    │   ├── RangeNotSatisfiable      416 range-not-satisfiable
    │   ├── ExpectationFailed        417 expectation-failed
    │   ├── InvalidName              422 invalid-name
    │   ├── InvalidOption            422 invalid-option
    │   ├── Refused                  422 refused
    │   ├── UploadLocked             423 upload-locked
    │   ├── TooManyJobs              429 too-many-jobs
    │   ├── ChecksumMismatch         460 checksum-mismatch
    │   ├── UnsupportedFeature       501 not-implemented
    │   └── QuotaExceeded            507 quota-exceeded
    ├── JobStopped                   why a job's task was cancelled; raised in place of CancelledError
    │   ├── Terminated               409 terminated
    │   ├── MalformedTransfer        400 malformed-transfer
    │   ├── IdleTimeout              408 idle-timeout
    │   ├── TooSlow                  408 too-slow
    │   ├── Superseded               409 superseded
    │   ├── Abandoned                409, with the code of what went wrong
    │   ├── Expired                  410 expired
    │   ├── Disconnected             499 disconnected (never sent: the client is gone)
    │   └── ShuttingDown             503 shutdown
    └── ServerError                  the server or its machine is at fault
        ├── ExportFailed             500 export-failed
        ├── StorageFailed            500 storage-failed
        ├── Busy                     503 busy
        ├── NotReady                 503 not-ready
        ├── StillEnding              503 still-ending
        └── StorageFull              507 storage-full
"""

from headgate.errors.base import ConfigError, HeadgateError, StorageUnusable
from headgate.errors.client import (
    AlreadyFinished,
    ChecksumMismatch,
    ClientError,
    DigestMismatch,
    ExpectationFailed,
    FileChanged,
    FileNotFound,
    FinalUpload,
    Forbidden,
    InconsistentLength,
    InvalidName,
    InvalidOption,
    JobIdTaken,
    JobNotFound,
    MalformedBody,
    MalformedRequest,
    NameTaken,
    NoFiles,
    NothingExporting,
    NothingUploading,
    OffsetMismatch,
    PreconditionFailed,
    QuotaExceeded,
    RangeNotSatisfiable,
    Refused,
    TooLarge,
    TooManyJobs,
    Unauthorized,
    Unreadable,
    UnsupportedFeature,
    UnsupportedMedia,
    UnsupportedVersion,
    UploadGone,
    UploadLocked,
    UploadNotFound,
)
from headgate.errors.server import Busy, ExportFailed, NotReady, ServerError, StillEnding, StorageFailed, StorageFull
from headgate.errors.stopped import (
    Abandoned,
    Disconnected,
    Expired,
    IdleTimeout,
    JobStopped,
    MalformedTransfer,
    ShuttingDown,
    Superseded,
    Terminated,
    TooSlow,
)

__all__ = [
    "Abandoned", "AlreadyFinished", "Busy", "ChecksumMismatch", "ClientError", "ConfigError", "DigestMismatch",
    "Disconnected", "ExpectationFailed", "Expired", "ExportFailed", "FileChanged", "FileNotFound",
    "FinalUpload", "Forbidden", "HeadgateError", "IdleTimeout", "InconsistentLength", "InvalidName",
    "InvalidOption", "JobIdTaken", "JobNotFound", "JobStopped", "MalformedBody", "MalformedRequest",
    "MalformedTransfer", "NameTaken", "NoFiles", "NotReady", "NothingExporting", "NothingUploading",
    "OffsetMismatch", "PreconditionFailed", "QuotaExceeded", "RangeNotSatisfiable", "Refused", "ServerError",
    "ShuttingDown", "StillEnding", "StorageFailed", "StorageFull", "StorageUnusable", "Superseded",
    "Terminated", "TooLarge", "TooManyJobs", "TooSlow", "Unauthorized", "Unreadable", "UnsupportedFeature",
    "UnsupportedMedia", "UnsupportedVersion", "UploadGone", "UploadLocked", "UploadNotFound",
]  # fmt: skip
