"""tus creations: the headers of ``POST /tus/`` as a `NewUpload`, and the checksum of a tus request.

A creation names its length, or says that it is deferred; with Upload-Concat it is one part of a later upload, or an
upload made of such parts (tus 1.0.0, "Creation" and "Concatenation").
"""

import json
from collections.abc import Mapping
from uuid import UUID

from aiohttp import web
from yarl import URL

from headgate.config import Config
from headgate.errors import InvalidName, MalformedRequest, UploadNotFound
from headgate.names import check_name
from headgate.resumable import NewUpload, Protocol
from headgate.transfer.digester import Digester
from headgate.web.files.upload_routes import requested_on_conflict
from headgate.web.jobs.job_ids import parse_job_id
from headgate.web.resumable.requests import is_empty
from headgate.wire.fields import field_value, field_values
from headgate.wire.tus import parse_checksum, parse_concat, parse_defer, parse_metadata, parse_number

__all__ = ["CONCAT", "LENGTH", "METADATA", "digester_of", "requested_upload"]

LENGTH = "Upload-Length"
METADATA = "Upload-Metadata"
CONCAT = "Upload-Concat"
DEFER = "Upload-Defer-Length"


def requested_upload(request: web.Request, config: Config) -> NewUpload:
    """The upload that `request` wants to create.

    Raises MalformedRequest, InvalidName, InvalidOption, UploadNotFound.
    """
    headers = field_values(request.headers, (METADATA, LENGTH, CONCAT, DEFER))
    metadata_header = headers.get(METADATA, "")
    metadata = parse_metadata(metadata_header)
    deferred_length = parse_defer(headers.get(DEFER))
    length_header = headers.get(LENGTH)
    length = None if length_header is None else parse_number(LENGTH, length_header)
    concat = None if CONCAT not in headers else parse_concat(headers[CONCAT])
    parts = () if concat is None or concat.urls is None else tuple(_part(url) for url in concat.urls)
    if parts:
        if length_header is not None or deferred_length or not is_empty(request):
            raise MalformedRequest("A final upload has its length and its bytes from its parts.")
    elif deferred_length is (length_header is not None):
        raise MalformedRequest("One of Upload-Length and Upload-Defer-Length is needed.")
    return NewUpload(
        protocol=Protocol.TUS,
        name=_name(metadata),
        on_conflict=requested_on_conflict(request, config),
        length=length,
        protocol_headers=json.dumps({METADATA: metadata_header, CONCAT: headers.get(CONCAT, "")}),
        partial=concat is not None and concat.urls is None,
        parts=parts,
    )


def digester_of(request: web.Request) -> Digester:
    """A digester of the content of `request`, by its Upload-Checksum if it has one. Raises MalformedRequest."""
    text = field_value(request.headers, "Upload-Checksum")
    if text is None:
        return Digester({})
    checksum = parse_checksum(text)
    return Digester({"Upload-Checksum": {checksum.algorithm: checksum.digest}})


def _part(url: str) -> UUID:
    """The id of the upload at `url`, which may be absolute or a path. Raises UploadNotFound."""
    try:
        path = URL(url).path
    except ValueError:
        raise UploadNotFound from None
    return parse_job_id(path.rpartition("/")[2], UploadNotFound(f"There is no upload at {url}."))


def _name(metadata: Mapping[str, bytes]) -> str | None:
    """The name that the metadata give the file; None without one. Raises InvalidName."""
    if not metadata.get("filename"):
        return None
    try:
        return check_name(metadata["filename"].decode())
    except UnicodeDecodeError:
        raise InvalidName("A file name must be valid UTF-8.") from None
