"""Plain uploads over HTTP: a form with files, or one file as the raw body. Each request is one job.

POST /upload    DELETE /upload/terminate    PUT /files/{name}

The handler reads the headers and refuses what they already show to be wrong; `receive` streams the body into a stage
and publishes it; the handler answers with the job and its files.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headgate.cluster import JobDirectory
from headgate.config import Config, OnConflict
from headgate.errors import NameTaken, NothingUploading, PreconditionFailed
from headgate.events import EventBus
from headgate.jobs import Job, JobRegistry, Kind
from headgate.storage import NO_PRECONDITION, Precondition, Storage
from headgate.transfer.inbound.approval import ReceivedFile
from headgate.transfer.inbound.incoming import BodySource, parse_on_conflict
from headgate.transfer.inbound.multipart import FormSource
from headgate.transfer.inbound.published_event import published_event
from headgate.transfer.inbound.raw import RawSource
from headgate.transfer.inbound.receive import UploadRules, receive
from headgate.transfer.watchdog import Watchdog
from headgate.web.expect import deferred, send_continue
from headgate.web.files.file_json import uploaded_file_json
from headgate.web.files.preconditions import requested_precondition, validators
from headgate.web.files.url_names import FILE_PATH, name_in_path
from headgate.web.jobs.job_ids import requested_job_id
from headgate.web.jobs.job_json import job_json
from headgate.web.jobs.job_links import JOB, job_headers, job_url
from headgate.web.jobs.job_routes import terminate_own
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse, json_response
from headgate.wire.fields import field_value

__all__ = ["UploadRoutes", "requested_on_conflict"]


class UploadRoutes:
    """The handlers of ``/upload``, and of a ``PUT`` of a file.

    `rules` are those of every upload; a request can change `on_conflict` and add a precondition. `resumable_handler`
    returns the handler of a ``POST /upload`` that asks for a resumable upload, and None for any other.
    """

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        directory: JobDirectory,
        storage: Storage,
        bus: EventBus,
        *,
        rules: UploadRules,
        resumable_handler: Callable[[web.Request], Handler | None],
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._directory = directory
        self._storage = storage
        self._bus = bus
        self._rules = rules
        self._resumable_handler = resumable_handler
        #: All files of a form are published together, or none (G3): no more than the storage can.
        self._max_files = min(config.max_files, storage.capabilities.max_files_per_stage)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/upload", self.upload, expect_handler=deferred)
        router.add_delete("/upload/terminate", self.terminate, expect_handler=deferred)
        router.add_put(FILE_PATH, self.put, expect_handler=deferred)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Receive the files of a form, as one job: all of them are published, or none."""
        resumable = self._resumable_handler(request)
        if resumable is not None:
            return await resumable(request)
        form = FormSource(request, self._config, max_files=self._max_files)
        job, files = await self._take(request, form, on_conflict=requested_on_conflict(request, self._config))
        body = job_json(job.info()) | {"files": [uploaded_file_json(file) for file in files]}
        headers = job_headers(request, job) | {hdrs.LOCATION: job_url(request, job)}
        return json_response(body, status=201, headers=headers)

    async def put(self, request: web.Request) -> LingeringResponse:
        """Receive the body as the file that the URL names, which is created, or replaced if the conditions hold."""
        raw = RawSource(request, self._config, name_in_path(request))
        on_conflict, precondition = OnConflict.REPLACE, requested_precondition(request)
        if (field_value(request.headers, hdrs.IF_NONE_MATCH) or "").strip() == "*":
            on_conflict = OnConflict.REJECT  # atomic, also against an upload that is published at the same time
        if precondition != NO_PRECONDITION:
            # Publishing checks again; but a request that fails now need not send its body.
            precondition.check(await self._storage.stat(raw.filename))
        try:
            job, (file,) = await self._take(request, raw, on_conflict=on_conflict, precondition=precondition)
        except NameTaken:
            if raw.filename in self._rules.reserved or on_conflict is not OnConflict.REJECT:
                raise
            raise PreconditionFailed from None
        assert file.published is not None
        status = 200 if file.published.replaced else 201
        headers = job_headers(request, job) | validators(file.published.entry).headers()
        return json_response(
            job_json(job.info()) | {"files": [uploaded_file_json(file)]}, status=status, headers=headers
        )

    async def _take(
        self,
        request: web.Request,
        source: BodySource,
        *,
        on_conflict: OnConflict,
        precondition: Precondition = NO_PRECONDITION,
    ) -> tuple[Job, Sequence[ReceivedFile]]:
        """Receive the files of `source`, the body of `request`, and publish them, as one job."""
        rules = replace(self._rules, on_conflict=on_conflict, precondition=precondition)
        async with self._jobs.run(
            Kind.UPLOAD, owner=request[USER].name, id=requested_job_id(request), address=request.remote
        ) as job:
            request[JOB] = job
            with (
                contextlib.closing(source),
                Watchdog(job, request, self._config, waited=source.waited, moved=lambda: source.consumed),
            ):
                async with self._storage.stage(job.id, job.owner, source.expected) as stage:
                    await send_continue(request)
                    files = await receive(job, source, stage, rules)
        for file in files:
            assert file.published is not None
            self._bus.publish(published_event(file.published, job))
        return job, files

    async def terminate(self, request: web.Request) -> LingeringResponse:
        return await terminate_own(request, self._directory, Kind.UPLOAD, NothingUploading)


def requested_on_conflict(request: web.Request, config: Config) -> OnConflict:
    """What happens if the name is taken, by the query of `request`, or else by `config`. Raises InvalidOption."""
    text = request.query.get("on_conflict")
    return parse_on_conflict(text) if text else config.on_conflict
