"""Uploads over HTTP.

POST /upload    DELETE /upload/terminate
"""

import contextlib
from typing import Any

from aiohttp import hdrs, web

from headgate.config import Config, OnConflict
from headgate.errors import InvalidOption, NothingUploading
from headgate.jobs import Jobs, Kind
from headgate.storage import Storage
from headgate.transfer.multipart import Form
from headgate.transfer.receive import OnReceived, ReceivedFile, receive
from headgate.transfer.watch import Watch
from headgate.web.answer import Answer, json_answer
from headgate.web.auth import USER
from headgate.web.expect import deferred, proceed
from headgate.web.jobs import JOB, job_headers, job_json, job_url, requested_job_id, terminate_own
from headgate.wire.digests import format_digests

__all__ = ["UploadRoutes"]


class UploadRoutes:
    """The handlers of ``/upload``. `reserved`: names that no upload may take."""

    def __init__(
        self,
        config: Config,
        jobs: Jobs,
        storage: Storage,
        *,
        reserved: frozenset[str],
        on_received: OnReceived | None,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._reserved = reserved
        self._on_received = on_received

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/upload", self.upload, expect_handler=deferred)
        router.add_delete("/upload/terminate", self.terminate, expect_handler=deferred)

    async def upload(self, request: web.Request) -> Answer:
        """Stream the form's files in, as one job."""
        config = self._config
        form = Form(request, config)

        def on_conflict() -> OnConflict:
            return _on_conflict(form.fields.get("on_conflict") or request.query.get("on_conflict"), config.on_conflict)

        on_conflict()  # a bad option in the URL is refused before the body
        async with self._jobs.run(Kind.UPLOAD, owner=request[USER].name, id=requested_job_id(request)) as job:
            request[JOB] = job
            with Watch(job, request, config, waited=form.waited, moved=lambda: form.consumed):
                async with (
                    self._storage.stage(job.id, job.owner) as stage,
                    contextlib.aclosing(form.files()) as incoming,
                ):
                    if form.expected is not None:
                        await stage.reserve(*form.expected)
                    await proceed(request)
                    files = await receive(
                        job,
                        incoming,
                        stage,
                        config=config,
                        on_conflict=on_conflict,
                        reserved=self._reserved,
                        expected=lambda: form.expected,
                        on_received=self._on_received,
                    )
        body = job_json(job) | {"files": [_file_json(file) for file in files]}
        headers = job_headers(request, job) | {hdrs.LOCATION: job_url(request, job)}
        return json_answer(body, status=201, headers=headers)

    async def terminate(self, request: web.Request) -> Answer:
        return await terminate_own(request, self._jobs, Kind.UPLOAD, NothingUploading)


def _file_json(file: ReceivedFile) -> dict[str, Any]:
    # In the body: a Repr-Digest header would speak of this answer, not of the files (RFC 9530, 3).
    digest = {"repr_digest": format_digests(file.digests)} if file.digests else {}
    return {"name": file.name, "size": file.size} | digest


def _on_conflict(text: str | None, default: OnConflict) -> OnConflict:
    try:
        return OnConflict(text) if text else default
    except ValueError:
        raise InvalidOption(f"on_conflict must be one of {', '.join(OnConflict)}.") from None
