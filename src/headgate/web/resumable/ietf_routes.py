"""Resumable uploads of the IETF over HTTP (draft-ietf-httpbis-resumable-upload; sections of it are named here).

POST, OPTIONS /upload    HEAD, GET, PATCH, DELETE, OPTIONS /uploads/{id}
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headgate.config import Config
from headgate.errors import (
    AlreadyFinished,
    HeadgateError,
    MalformedRequest,
    OffsetMismatch,
    TooLarge,
    UnsupportedMedia,
)
from headgate.jobs import Job
from headgate.names import check_name
from headgate.resumable import Append, NewUpload, Protocol, ResumableUploads, Upload
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.approval import ReceivedFile
from headgate.transfer.inbound.body import Body
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
from headgate.web.resumable.requests import RequestSender, absolute, final, find, seconds_left, set_job
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
VERSION = "Upload-Draft-Interop-Version"

_REPR = "Repr-Digest"


class IetfRoutes:
    """The handlers of ``/uploads/``, and `create`, which ``POST /upload`` calls for whoever asks for it."""

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
        """The limits, before anything is sent (4.1.4)."""
        limits = {"max-size": self._config.max_file_size, "max-age": int(self._config.upload_expiry)}
        headers = {LIMIT: format_limits(limits), hdrs.ALLOW: "POST, OPTIONS"}
        if "id" in request.match_info:
            headers |= {hdrs.ALLOW: "HEAD, GET, PATCH, DELETE, OPTIONS", "Accept-Patch": CONTENT_TYPE}
        return LingeringResponse(status=204, headers=headers)

    def handler_of(self, request: web.Request) -> Handler | None:
        """The handler of `request`, a ``POST /upload``, if it asks for a resumable upload. A form never does."""
        started = any(name in request.headers for name in ("Upload-Complete", "Upload-Incomplete"))
        is_form = media_type(request).startswith("multipart/")
        return final(self.create) if started and not is_form and self._dialect(request).complete is not None else None

    def _dialect(self, request: web.Request) -> Dialect:
        return Dialect(field_values(request.headers, FIELDS), self._config.interop_versions)

    async def create(self, request: web.Request) -> LingeringResponse:
        """Begin an upload with what the request brings, all of it or not (4.2)."""
        dialect = self._dialect(request)
        complete = bool(dialect.complete)
        set_default_headers(request, dialect.completeness(False))
        check_content(request)
        absolute(request, self._config, "/")  # who cannot be told where it is need not begin
        sender = _Sender(request, self._config, dialect)
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
        append.agreed(0, sender.length, None)  # what cannot be need not be begun
        id_ = requested_job_id(request)
        try:
            upload = await self._uploads.create(new, owner=request[USER].name, id_=id_, address=request.remote)
        except TooLarge:
            set_default_headers(request, {LIMIT: format_limits({"max-size": self._config.max_file_size})})
            raise
        set_job(request, upload)
        headers = {hdrs.LOCATION: self._url(request, upload)} | self._limits(dialect, upload)
        try:
            await sender.interim(headers)
            return await self._take(request, dialect, upload, append, sender) or LingeringResponse(
                status=201, headers=headers | self._progress(request, dialect, upload)
            )
        except BaseException as error:
            if id_ is None and dialect.version is None and not upload.is_being_completed:
                # Its client was not told where it is.
                await upload.abandon(error)
            raise

    async def _take(
        self, request: web.Request, dialect: Dialect, upload: Upload, append: Append, sender: "_Sender"
    ) -> LingeringResponse | None:
        """Add what the request brings; the final answer, if that completes the upload."""
        sender.upload = upload
        try:
            await upload.append(append, sender, self._config)
            if not upload.job.all_received:
                return None
            set_default_headers(
                request, dialect.completeness(True)
            )  # whatever is said now is said of the whole (4.1.2)
            await self._uploads.completed(upload)
        except AlreadyFinished:  # it was published, or ended, while this one waited
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
        """What the plain upload would have been answered."""
        outcome, job = upload.record.outcome, upload.info()
        assert outcome is not None
        file = ReceivedFile(outcome.name, outcome.size, outcome.digests)
        body = job_json(job) | {"files": [uploaded_file_json(file)]}
        headers = job_headers(request, job) | {hdrs.LOCATION: job_url(request, job), OFFSET: str(outcome.size)}
        return json_response(body, status=201, headers=headers | dialect.completeness(True))

    async def probe(self, request: web.Request) -> LingeringResponse:
        """How far an upload is (4.3). Whoever was adding to it has ended when this answers."""
        dialect = self._dialect(request)
        if any(name in request.headers for name in (OFFSET, "Upload-Complete", "Upload-Incomplete")):
            raise MalformedRequest(f"Who asks for the offset sends neither {OFFSET} nor Upload-Complete.")
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
        """Add bytes, or the last of them (4.4)."""
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
        sender = _Sender(request, self._config, dialect)
        if upload.record.outcome is not None:
            return self._replay(request, dialect, upload, offset, sender)
        append = Append(offset=offset, length=dialect.length, last=dialect.last, strict=True)
        return await self._take(request, dialect, upload, append, sender) or LingeringResponse(
            status=dialect.appended, headers=self._progress(request, dialect, upload)
        )

    def _replay(
        self, request: web.Request, dialect: Dialect, upload: Upload, offset: int, sender: "_Sender"
    ) -> LingeringResponse:
        """The final answer once more, for a client that did not get it; whoever wants to add is refused."""
        if offset != upload.offset or sender.length != 0:
            set_default_headers(request, {OFFSET: str(upload.offset)})
            raise OffsetMismatch(upload.offset, offset)
        return self._final(request, dialect, upload)

    async def delete(self, request: web.Request) -> LingeringResponse:
        """End an upload (4.5). What is published already stays; it has a URL of its own."""
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


class _Sender(RequestSender):
    """A request that is told how far it is, in 104 responses, if it understands them."""

    def __init__(self, request: web.Request, config: Config, dialect: Dialect) -> None:
        super().__init__(request, config, Digester.expecting(request.headers, fields=("Content-Digest",)))
        self._dialect = dialect
        #: What it is sent to.
        self.upload: Upload | None = None

    async def interim(self, headers: Mapping[str, str]) -> None:
        """A 104 (Upload Resumption Supported) response with `headers`."""
        if self._dialect.version is None:
            return
        lines = {VERSION: str(self._dialect.version), **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send_interim(f"HTTP/1.1 104 Upload Resumption Supported\r\n{text}\r\n".encode())

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        watch = super().watch(job, body)
        # What may still be dropped, because it is not what its digest says, is not acknowledged.
        tells = self._dialect.version is not None and not self.checked
        return self._telling(watch, self.upload) if tells and self.upload is not None else watch

    @contextmanager
    def _telling(self, watch: AbstractContextManager[object], upload: Upload) -> Iterator[None]:
        task = asyncio.create_task(self._tell(upload, upload.offset))
        try:
            with watch:
                yield
        finally:
            task.cancel()

    async def _tell(self, upload: Upload, told: int) -> None:
        """Tell now and then how much of it is safe (4.4.2)."""
        with suppress(HeadgateError):
            while True:
                await asyncio.sleep(self._config.watch_interval)
                if upload.offset != told:
                    told = await upload.secured()
                    await self.interim({OFFSET: str(told)})


def _name(request: web.Request) -> str | None:
    """What the file is to be called: as Content-Disposition says (4.2.1), or the query. Raises InvalidName."""
    header = request.headers.get(hdrs.CONTENT_DISPOSITION)
    told = None if header is None else parse_parameters(header)[1].get("filename")
    return name_in_query(request, "filename") if told is None else check_name(told)
