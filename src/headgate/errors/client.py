"""Errors of which the request is the cause."""

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
    """The same request gets the same answer until something changes."""

    code, status, title = "bad-request", 400, "The request is at fault"


class MalformedRequest(ClientError):
    """The request line, a header or a small body does not have the form that it must have."""

    code, status, title = "malformed-request", 400, "The request is malformed"


class MalformedBody(ClientError):
    """The body of an upload ends early, or is no valid multipart/form-data."""

    code, status, title = "malformed-body", 400, "The body is malformed or ends early"


class DigestMismatch(ClientError):
    """The content was dropped: it does not have the digest in Content-Digest or Repr-Digest (RFC 9530)."""

    code, status, title = "digest-mismatch", 400, "The content does not have the digest that was sent with it"


class InconsistentLength(ClientError):
    """A resumable upload's length, its content and its completeness contradict each other."""

    code, status, title = "inconsistent-upload-length", 400, "The lengths that were told of the upload do not agree"
    type = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"


class NoFiles(ClientError):
    """A form without a file was sent to be uploaded."""

    code, status, title = "no-files", 400, "The form carries no file"


class Unauthorized(ClientError):
    """The request carries no token, or one that is not valid."""

    code, status, title = "unauthorized", 401, "A valid token is needed"


class Forbidden(ClientError):
    """The request comes from a page of another origin, or names another host than this machine."""

    code, status, title = "forbidden", 403, "This is not allowed from there"


class Unreadable(ClientError):
    """The published file exists, and the server's user may not read it."""

    code, status, title = "unreadable-file", 403, "The server may not read this file"


class FinalUpload(ClientError):
    """tus 1.0.0, "Concatenation": a final upload must not be patched."""

    code, status, title = "final-upload", 403, "A final upload is made of partial ones; nothing can be added to it"


class JobNotFound(ClientError):
    """There is no job with this id, or it is another user's: a client cannot tell which (G6)."""

    code, status, title = "no-such-job", 404, "There is no such job"


class UploadNotFound(ClientError):
    """There is no resumable upload at this URL, or it is another user's."""

    code, status, title = "no-such-upload", 404, "There is no such upload"


class NothingUploading(ClientError):
    """The user has no upload that could be terminated."""

    code, status, title = "not-uploading", 404, "You are not uploading anything currently."


class NothingExporting(ClientError):
    """The user has no export that could be terminated."""

    code, status, title = "not-exporting", 404, "You are not exporting any file currently."


class FileNotFound(ClientError):
    """There is no published file of this name."""

    code, status, title = "no-such-file", 404, "There is no such file"


class JobIdTaken(ClientError):
    """The client chose an id that another job of the same owner has."""

    code, status, title = "job-id-taken", 409, "The job id is taken"


class NameTaken(ClientError):
    """A published file has the name, and OnConflict.REJECT applies."""

    code, status, title = "name-taken", 409, "The name is taken"


class FileChanged(ClientError):
    """The file was replaced or cut while a zip with it was being sent."""

    code, status, title = "file-changed", 409, "The file was changed while it was exported"


class AlreadyFinished(ClientError):
    """The job has passed its point of no return, or has ended: it can be neither stopped nor added to."""

    code, status, title = "already-finished", 409, "The job has already finished"


class OffsetMismatch(ClientError):
    """A resumable upload has another offset than the request names."""

    code, status, title = "mismatching-upload-offset", 409, "The offset is not that of the upload"
    type = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"

    def __init__(self, expected: int, provided: int) -> None:
        super().__init__(f"The upload has {expected} bytes.")
        #: Bytes that the upload has.
        self.expected = expected
        self.members = {"expected-offset": expected, "provided-offset": provided}


class UploadGone(ClientError):
    """The resumable upload has ended for good: terminated, expired, or failed."""

    code, status, title = "upload-gone", 410, "The upload is no more"


class PreconditionFailed(ClientError):
    """A condition of the request does not hold for the published file (RFC 9110, 13)."""

    code, status, title = "precondition-failed", 412, "What is there is not what the request expects"


class UnsupportedVersion(ClientError):
    """tus 1.0.0: Tus-Resumable names a version that is not served."""

    code, status, title = "unsupported-version", 412, "The version of the protocol is not served"


class TooLarge(ClientError):
    """A limit of Config is exceeded; the same request can never succeed."""

    code, status, title = "too-large", 413, "Too large"


class UnsupportedMedia(ClientError):
    """The Content-Type or the Content-Encoding of the body is not one that is accepted."""

    code, status, title = "unsupported-media", 415, "The body's type or encoding is not supported"


class RangeNotSatisfiable(ClientError):
    """No range of the request lies within the content (RFC 9110, 14)."""

    code, status, title = "range-not-satisfiable", 416, "The range lies outside of the content"

    def __init__(self, size: int) -> None:
        super().__init__(f"There are {size} bytes.")
        #: Bytes of the whole content.
        self.size = size


class ExpectationFailed(ClientError):
    """The request expects something else than 100-continue (RFC 9110, 10.1.1)."""

    code, status, title = "expectation-failed", 417, "Only 'Expect: 100-continue' is understood"


class InvalidName(ClientError):
    """No file may have this name; `headgate.names` has the rules."""

    code, status, title = "invalid-name", 422, "The file name is not allowed"


class InvalidOption(ClientError):
    """A query parameter, a form field or a member of a JSON body has a value that it cannot have."""

    code, status, title = "invalid-option", 422, "An option has a value that is not allowed"


class Refused(ClientError):
    """The embedding service's `on_received` refused the upload; the detail is its message."""

    code, status, title = "refused", 422, "The upload was refused"


class UploadLocked(ClientError):
    """Another process holds the lock of the resumable upload, and does not let go of it."""

    code, status, title, retry_after = "upload-locked", 423, "Another server holds the upload", 2


class TooManyJobs(ClientError):
    """The owner has as many live jobs as `Config.max_jobs_per_owner`. Most jobs end within seconds."""

    code, status, title, retry_after = "too-many-jobs", 429, "You have too many transfers running", 5


class ChecksumMismatch(ClientError):
    """tus 1.0.0, "Checksum": the content was dropped, because it does not have the checksum."""

    code, status, title = "checksum-mismatch", 460, "Checksum Mismatch"


class UnsupportedFeature(ClientError):
    """The request is valid, and needs something that this server or its storage does not do."""

    code, status, title = "not-implemented", 501, "The request needs what is not implemented here"


class QuotaExceeded(ClientError):
    """The upload would exceed a quota, and waiting does not help. A plain upload ends; a resumable one keeps its
    bytes."""

    code, status, title = "quota-exceeded", 507, "The quota is used up"
