"""The body of an IETF upload request, whose client is told in interim responses how much of it is safe.

While the content arrives, the server sends responses of status 104 with the offset
(draft-ietf-httpbis-resumable-upload, 4.4.2): after a broken connection the client goes on from the last one without
asking. A client that does not name an interop version understands none, and gets none.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

from aiohttp import web

from headgate.config import Config
from headgate.errors import HeadgateError
from headgate.jobs import Job
from headgate.resumable import Upload
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.body import Body
from headgate.web.resumable.requests import RequestSender
from headgate.wire.ietf import Dialect

__all__ = ["ProgressSender"]

OFFSET = "Upload-Offset"
VERSION = "Upload-Draft-Interop-Version"


class ProgressSender(RequestSender):
    """The content of `request`, which speaks `dialect`.

    `upload` is set once it is known which one the content is for.
    """

    def __init__(self, request: web.Request, config: Config, dialect: Dialect) -> None:
        super().__init__(request, config, Digester.expecting(request.headers, fields=("Content-Digest",)))
        self._dialect = dialect
        self.upload: Upload | None = None

    async def send_progress(self, headers: Mapping[str, str]) -> None:
        """Send a 104 (Upload Resumption Supported) with `headers`, if the client understands it.

        Raises Disconnected.
        """
        if self._dialect.version is None:
            return
        lines = {VERSION: str(self._dialect.version), **headers}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.send_interim(f"HTTP/1.1 104 Upload Resumption Supported\r\n{text}\r\n".encode())

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        """The context of `RequestSender.watch`, in which the client is sent its progress, too."""
        watch = super().watch(job, body)
        # Content that came with a digest may still be dropped at its end: until then no offset in it is safe.
        acknowledged = self._dialect.version is not None and not self.checked
        return self._reporting(watch, self.upload) if acknowledged and self.upload is not None else watch

    @contextmanager
    def _reporting(self, watch: AbstractContextManager[object], upload: Upload) -> Iterator[None]:
        task = asyncio.create_task(self._report(upload, upload.offset))
        try:
            with watch:
                yield
        finally:
            task.cancel()

    async def _report(self, upload: Upload, reported: int) -> None:
        """Every `watch_interval`, make what has arrived durable and report it."""
        with suppress(HeadgateError):
            while True:
                await asyncio.sleep(self._config.watch_interval)
                if upload.offset != reported:
                    reported = await upload.secured()
                    await self.send_progress({OFFSET: str(reported)})
