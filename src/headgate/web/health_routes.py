"""Health checks for supervisors (is the process alive?) and load balancers (may it be sent requests?); open to all.

GET /healthz    GET /readyz
"""

import asyncio
import logging
import time

from aiohttp import web

from headgate.errors import HeadgateError, NotReady, ShuttingDown
from headgate.jobs import JobRegistry
from headgate.storage import Storage
from headgate.web.expect import deferred
from headgate.web.responses import LingeringResponse, json_response

__all__ = ["HEALTH_ROUTES", "HealthRoutes"]

logger = logging.getLogger("headgate.web")

#: Seconds between two checks of whether the storage can be written to, however often clients ask.
STORAGE_CHECK_SECONDS = 1.0

#: Names of the routes that need no user.
HEALTH_ROUTES = frozenset({"healthz", "readyz"})


class HealthRoutes:
    """The handlers of ``/healthz`` and ``/readyz``."""

    def __init__(self, jobs: JobRegistry, storage: Storage) -> None:
        self._jobs = jobs
        self._storage = storage
        self._probed_at = float("-inf")
        self._reason: str | None = None
        self._probing = asyncio.Lock()

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/healthz", self.healthz, name="healthz", expect_handler=deferred)
        router.add_get("/readyz", self.readyz, name="readyz", expect_handler=deferred)

    async def healthz(self, request: web.Request) -> LingeringResponse:
        """200: that there is an answer shows that the event loop runs."""
        return json_response({"status": "alive"})

    async def readyz(self, request: web.Request) -> LingeringResponse:
        """200 while new jobs are accepted; 503 during a shutdown, and while the storage cannot be written to."""
        if self._jobs.closing:
            raise ShuttingDown
        async with self._probing:
            if time.monotonic() - self._probed_at >= STORAGE_CHECK_SECONDS:
                await self._probe()
        if self._reason is not None:
            raise NotReady(self._reason)
        return json_response({"status": "ready"})

    async def _probe(self) -> None:
        before, self._reason = self._reason, None
        try:
            await self._storage.check()
        except HeadgateError as error:
            cause = error.__cause__
            self._reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
        self._probed_at = time.monotonic()
        if self._reason != before:
            logger.warning("the storage %s", "is ready again" if self._reason is None else f"is not: {self._reason}")
