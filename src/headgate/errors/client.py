"""The request is at fault."""

from headgate.errors.base import HeadgateError

__all__ = [
    "AlreadyFinished",
    "ChecksumMismatch",
    "ClientError",
    "DigestMismatch",
    "ExpectationFailed",
    "FileChanged",
    "FileNotFound",
    "FinalUpload",
    "Forbidden",
    "InconsistentLength",
    "InvalidName",
    "InvalidOption",
    "JobIdTaken",
    "JobNotFound",
    "MalformedBody",
    "MalformedRequest",
    "NameTaken",
    "NoFiles",
    "NothingExporting",
    "NothingUploading",
    "OffsetMismatch",
    "PreconditionFailed",
    "QuotaExceeded",
    "RangeNotSatisfiable",
    "Refused",
    "TooLarge",
    "TooManyJobs",
    "Unauthorized",
    "Unreadable",
    "UnsupportedFeature",
    "UnsupportedMedia",
    "UnsupportedVersion",
    "UploadGone",
    "UploadLocked",
    "UploadNotFound",
]


class ClientError(HeadgateError):
    """The same request again meets the same answer until something changes."""

    code, status, title = "bad-request", 400, "The request is at fault"


class MalformedRequest(ClientError):
    code, status, title = "malformed-request", 400, "The request is malformed"


class MalformedBody(ClientError):
    code, status, title = "malformed-body", 400, "The body is malformed or ends early"


class DigestMismatch(ClientError):
    code, status, title = "digest-mismatch", 400, "The content does not have the digest that was sent with it"


class InconsistentLength(ClientError):
    code, status, title = "inconsistent-upload-length", 400, "The lengths that were told of the upload do not agree"
    type = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"


class NoFiles(ClientError):
    code, status, title = "no-files", 400, "The form carries no file"


class Unauthorized(ClientError):
    code, status, title = "unauthorized", 401, "A valid token is needed"


class Forbidden(ClientError):
    code, status, title = "forbidden", 403, "This is not allowed from there"


class Unreadable(ClientError):
    code, status, title = "unreadable-file", 403, "The server may not read this file"


class FinalUpload(ClientError):
    code, status, title = "final-upload", 403, "A final upload is made of partial ones; nothing can be added to it"


class JobNotFound(ClientError):
    code, status, title = "no-such-job", 404, "There is no such job"


class UploadNotFound(ClientError):
    code, status, title = "no-such-upload", 404, "There is no such upload"


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


class FileChanged(ClientError):
    code, status, title = "file-changed", 409, "The file was changed while it was exported"


class AlreadyFinished(ClientError):
    code, status, title = "already-finished", 409, "The job has already finished"


class OffsetMismatch(ClientError):
    code, status, title = "mismatching-upload-offset", 409, "The offset is not that of the upload"
    type = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"

    def __init__(self, expected: int, provided: int) -> None:
        super().__init__(f"The upload has {expected} bytes.")
        #: Bytes that the upload has.
        self.expected = expected
        self.members = {"expected-offset": expected, "provided-offset": provided}


class UploadGone(ClientError):
    code, status, title = "upload-gone", 410, "The upload is no more"


class PreconditionFailed(ClientError):
    code, status, title = "precondition-failed", 412, "What is there is not what the request expects"


class UnsupportedVersion(ClientError):
    code, status, title = "unsupported-version", 412, "The version of the protocol is not served"


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


class UploadLocked(ClientError):
    code, status, title, retry_after = "upload-locked", 423, "Another server holds the upload", 2


class TooManyJobs(ClientError):
    """The owner's own jobs are too many. Most end within seconds."""

    code, status, title, retry_after = "too-many-jobs", 429, "You have too many transfers running", 5


class ChecksumMismatch(ClientError):
    code, status, title = "checksum-mismatch", 460, "Checksum Mismatch"


class UnsupportedFeature(ClientError):
    code, status, title = "not-implemented", 501, "The request needs what is not implemented here"


class QuotaExceeded(ClientError):
    """Final as far as this upload goes: nothing of it is kept, and waiting does not help."""

    code, status, title = "quota-exceeded", 507, "The quota is used up"
