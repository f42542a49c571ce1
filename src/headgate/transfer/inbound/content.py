"""What the headers of a request say of its content, and which contents are refused before a byte of them is read.

Rules of this file:

- The bytes of a content are stored as they come. So a coded content (gzip, say) is refused: its file would not be what
  the client means by it. So is a part that comes without the rest.
- Every handler that reads a body calls one of the checks here first.
"""

from aiohttp import hdrs, web

from headgate.errors import InconsistentLength, MalformedRequest, UnsupportedMedia
from headgate.wire.fields import field_value, field_values
from headgate.wire.ietf import FIELDS, VERSIONS, Dialect
from headgate.wire.structured_fields import parse_boolean

__all__ = ["check_coding", "check_content", "check_whole", "media_type"]


def media_type(request: web.Request) -> str:
    """The media type of the content of `request` in lower case and without parameters; empty if it does not say.

    aiohttp's own `content_type` takes time that grows with the square of the header.
    """
    return request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


def check_coding(request: web.Request) -> None:
    """Raise UnsupportedMedia if the content of `request` has a Content-Encoding."""
    if (field_value(request.headers, hdrs.CONTENT_ENCODING) or "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The content may not have a Content-Encoding.")


def check_content(request: web.Request) -> None:
    """Raise UnsupportedMedia if the content of `request` is coded, MalformedRequest if it is a range of a larger one.

    A range is what a Content-Range makes of it (RFC 9110, 14.5).
    """
    check_coding(request)
    if hdrs.CONTENT_RANGE in request.headers:
        raise MalformedRequest("A part of a file cannot be sent as one.")


def check_whole(request: web.Request) -> None:
    """Raise as `check_content` does, and also if the headers of `request`, which is no resumable upload, say that it
    brings a part of one: MalformedRequest, or InconsistentLength. A part is not to be published as a file."""
    check_content(request)
    fields = field_values(request.headers, FIELDS)
    if not fields:
        return
    dialect = Dialect(fields, frozenset(VERSIONS))
    incomplete = parse_boolean(fields.get("Upload-Incomplete"))
    if parse_boolean(fields.get("Upload-Complete")) is False or incomplete or dialect.offset:
        raise MalformedRequest("A part of an upload cannot be sent here: see the resumable uploads.")
    length, size = dialect.length, request.content_length
    if length is not None and size is not None and length != size:
        raise InconsistentLength(f"The upload is to have {length} bytes, and the content has {size}.")
