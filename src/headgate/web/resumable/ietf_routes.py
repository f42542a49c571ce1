"""Resumable uploads of the IETF over HTTP (draft-ietf-httpbis-resumable-upload; section numbers are its own).

POST, OPTIONS /upload    HEAD, GET, PATCH, DELETE, OPTIONS /uploads/{id}

The handlers translate: headers to calls of the resumable core (`headgate.resumable`), its outcome to headers. How the
iterations of the draft differ is in `wire/ietf.py` (`Dialect`).

Rules of this file:

- The answer to the request that completes an upload is the answer that a plain upload would have had; the same request
  again, without bytes, gets it again (`_replay`).
- Every answer says whether the upload is complete, an error too: it is a default header until the upload is whole.
"""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headgate.config import Config
from headgate.errors import (
    AlreadyFinished,
    MalformedRequest,
    OffsetMismatch,
    TooLarge,
    UnsupportedMedia,
)
from headgate.names import check_name
from headgate.resumable import Append, NewUpload, Protocol, ResumableUploads, Upload
from headgate.transfer.inbound.approval import ReceivedFile
from headgate.transfer.inbound.content import check_content, media_type
from headgate.web.expect import deferred
from headgate.web.files.file_json import uploaded_file_json
from headgate.web.files.upload_routes import requested_on_conflict
from headgate.web.files.url_names import name_in_query
from headgate.web.jobs.job_access import requesting_actor
from headgate.web.jobs.job_ids import requested_job_id
from headgate.web.jobs.job_json import job_json
from headgate.web.jobs.job_links import job_headers, job_url
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse, json_response, set_default_headers
from headgate.web.resumable.progress_sender import ProgressSender
from headgate.web.resumable.requests import absolute, final, find, seconds_left, set_job
from headgate.wire.digest_fields import parse_digests, parse_wish
from headgate.wire.fields import field_value, field_values
from headgate.wire.ietf import CONTENT_TYPE, FIELDS, Dialect, format_limits
from headgate.wire.parameters import parse_parameters

__all__ = ["IetfRoutes"]

#: The route of one upload.
UPLOAD_ROUTE = "upload"

OFFSET = "Upload-Offset"
LENGTH = "Upload-Length"
LIMIT = "Upload-Limit"

_REPR = "Repr-Digest"


class IetfRoutes:
    """The handlers of ``/uploads/``, and of a ``POST /upload`` that asks for a resumable upload."""

    def __init__(self, config: Config, uploads: ResumableUploads) -> None:
        self._config = config
        self._uploads = uploads

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_options("/upload", self.options, expect_handler=deferred)
        one = router.add_resource("/uploads/{id}", name=UPLOAD_ROUTE)
        for method, handler in (
            ("HEAD", final(self.probe)),
            ("GET", final(self.probe)),
            ("PATCH", final(self.append)),
            ("DELETE", self.delete),
            ("OPTIONS", self.options),
        ):
            one.add_route(method, handler, expect_handler=deferred)

    async def options(self, request: web.Request) -> LingeringResponse:
        """The limits, for a client that has sent nothing yet (4.1.4)."""
        limits = {"max-size": self._config.max_file_size, "max-age": int(self._config.upload_expiry)}
        headers = {LIMIT: format_limits(limits), hdrs.ALLOW: "POST, OPTIONS"}
        if "id" in request.match_info:
            headers |= {hdrs.ALLOW: "HEAD, GET, PATCH, DELETE, OPTIONS", "Accept-Patch": CONTENT_TYPE}
        return LingeringResponse(status=204, headers=headers)

    def handler_of(self, request: web.Request) -> Handler | None:
        """The handler of `request`, a ``POST /upload``, if that asks for a resumable upload, as no form does; else
        None."""
        started = any(name in request.headers for name in ("Upload-Complete", "Upload-Incomplete"))
        is_form = media_type(request).startswith("multipart/")
        return final(self.create) if started and not is_form and self._dialect(request).complete is not None else None

    def _dialect(self, request: web.Request) -> Dialect:
        return Dialect(field_values(request.headers, FIELDS), self._config.interop_versions)

    async def create(self, request: web.Request) -> LingeringResponse:
        """Create an upload with the content of the request, which is the whole of it or a beginning (4.2)."""
        dialect = self._dialect(request)
        complete = bool(dialect.complete)
        set_default_headers(request, dialect.completeness(False))
        check_content(request)
        absolute(request, self._config, "/")  # raises before anything is created, if no Location can be told
        sender = ProgressSender(request, self._config, dialect)
        length = dialect.length
        if length is None and complete:
            length = sender.length
        new = NewUpload(
            protocol=Protocol.IETF,
            name=_name(request),
            on_conflict=requested_on_conflict(request, self._config),
            length=length,
            digests=parse_digests(_REPR, field_value(request.headers, _REPR) or ""),
            wanted_digest=parse_wish(field_value(request.headers, "Want-Repr-Digest") or ""),
        )
        append = Append(offset=0, length=length, last=dialect.last, strict=True)
        append.agreed(0, sender.length, None)  # raises before anything is created, if the lengths cannot be true
        id_ = requested_job_id(request)
        try:
            upload = await self._uploads.create(new, owner=request[USER].name, id_=id_, address=request.remote)
        except TooLarge:
            set_default_headers(request, {LIMIT: format_limits({"max-size": self._config.max_file_size})})
            raise
        set_job(request, upload)
        headers = {hdrs.LOCATION: self._url(request, upload)} | self._limits(dialect, upload)
        try:
            await sender.send_progress(headers)
            return await self._take(request, dialect, upload, append, sender) or LingeringResponse(
                status=201, headers=headers | self._progress(request, dialect, upload)
            )
        except BaseException as error:
            if id_ is None and dialect.version is None and not upload.is_being_completed:
                # No client knows its URL, so none can go on with it.
                await upload.abandon(error)
            raise

    async def _take(
        self, request: web.Request, dialect: Dialect, upload: Upload, append: Append, sender: ProgressSender
    ) -> LingeringResponse | None:
        """Add the content of `request` to `upload`; returns the final answer if that completes it, else None."""
        sender.upload = upload
        try:
            await upload.append(append, sender, self._config)
            if not upload.job.all_received:
                return None
            # From here on every answer is about the complete upload (4.1.2).
            set_default_headers(request, dialect.completeness(True))
            await self._uploads.completed(upload)
        except AlreadyFinished:  # it was published, or ended, while this request waited for it
            set_default_headers(request, dialect.completeness(False))
            upload = await self._uploads.find_again(upload)
            return self._replay(request, dialect, upload, append.offset or 0, sender)
        except OffsetMismatch as error:
            set_default_headers(request, {OFFSET: str(error.expected)})
            raise
        except TooLarge:
            set_default_headers(request, self._limits(dialect, upload))
            raise
        return self._final(request, dialect, upload)

    def _final(self, request: web.Request, dialect: Dialect, upload: Upload) -> LingeringResponse:
        """The answer that a plain upload of the same bytes would have had."""
        outcome, job = upload.record.outcome, upload.info()
        assert outcome is not None
        file = ReceivedFile(outcome.name, outcome.size, outcome.digests)
        body = job_json(job) | {"files": [uploaded_file_json(file)]}
        headers = job_headers(request, job) | {hdrs.LOCATION: job_url(request, job), OFFSET: str(outcome.size)}
        return json_response(body, status=201, headers=headers | dialect.completeness(True))

    async def probe(self, request: web.Request) -> LingeringResponse:
        """The offset of an upload (4.3). A request that was adding to it has been ended when this answers."""
        dialect = self._dialect(request)
        if any(name in request.headers for name in (OFFSET, "Upload-Complete", "Upload-Incomplete")):
            raise MalformedRequest(f"A request for the offset may have neither {OFFSET} nor Upload-Complete.")
        upload = await find(request, self._uploads, Protocol.IETF)
        if upload.record.outcome is None:
            try:
                await upload.probe()
            except AlreadyFinished:  # it was published, or ended, just now
                upload = await find(request, self._uploads, Protocol.IETF)
        headers = self._progress(request, dialect, upload) | self._limits(dialect, upload)
        length = upload.record.length if upload.record.outcome is None else upload.offset
        if length is not None:
            headers[LENGTH] = str(length)
        return LingeringResponse(status=204, headers=headers | {hdrs.CACHE_CONTROL: "no-store"})

    async def append(self, request: web.Request) -> LingeringResponse:
        """Add the content of the request, which may be the last of the upload (4.4)."""
        dialect = self._dialect(request)
        set_default_headers(request, dialect.completeness(False))
        upload = await find(request, self._uploads, Protocol.IETF)
        check_content(request)
        if dialect.needs_type and media_type(request) != CONTENT_TYPE:
            set_default_headers(request, {"Accept-Patch": CONTENT_TYPE})
            raise UnsupportedMedia(f"Bytes must be sent as {CONTENT_TYPE}.")
        offset, complete = dialect.offset, dialect.complete
        if offset is None or complete is None:
            raise MalformedRequest(f"{OFFSET} and Upload-Complete are needed.")
        sender = ProgressSender(request, self._config, dialect)
        if upload.record.outcome is not None:
            return self._replay(request, dialect, upload, offset, sender)
        append = Append(offset=offset, length=dialect.length, last=dialect.last, strict=True)
        return await self._take(request, dialect, upload, append, sender) or LingeringResponse(
            status=dialect.appended, headers=self._progress(request, dialect, upload)
        )

    def _replay(
        self, request: web.Request, dialect: Dialect, upload: Upload, offset: int, sender: ProgressSender
    ) -> LingeringResponse:
        """The final answer again, for a client that did not receive it.

        Raises OffsetMismatch for content to be added.
        """
        if offset != upload.offset or sender.length != 0:
            set_default_headers(request, {OFFSET: str(upload.offset)})
            raise OffsetMismatch(upload.offset, offset)
        return self._final(request, dialect, upload)

    async def delete(self, request: web.Request) -> LingeringResponse:
        """Cancel an upload (4.5). A file that was published already stays, under a URL of its own."""
        upload = await find(request, self._uploads, Protocol.IETF, wait=False)
        await self._uploads.remove(upload, by=requesting_actor(request))
        return LingeringResponse(status=204, headers=job_headers(request, upload.info()))

    def _url(self, request: web.Request, upload: Upload) -> str:
        path = str(request.app.router[UPLOAD_ROUTE].url_for(id=upload.info().id_text))
        return absolute(request, self._config, path)

    def _limits(self, dialect: Dialect, upload: Upload) -> dict[str, str]:
        if not dialect.has_limits:
            return {}
        limits = {"max-size": self._config.max_file_size}
        if upload.record.outcome is None:
            limits[dialect.lifetime] = seconds_left(self._uploads, upload)
        return {LIMIT: format_limits(limits)}

    def _progress(self, request: web.Request, dialect: Dialect, upload: Upload) -> dict[str, str]:
        done = upload.record.outcome is not None
        return {OFFSET: str(upload.offset)} | dialect.completeness(done) | job_headers(request, upload.info())


def _name(request: web.Request) -> str | None:
    """The name that Content-Disposition (4.2.1), or else the query, gives the file; None if neither.

    Raises InvalidName.
    """
    header = request.headers.get(hdrs.CONTENT_DISPOSITION)
    name = None if header is None else parse_parameters(header)[1].get("filename")
    return name_in_query(request, "filename") if name is None else check_name(name)
