"""Is it alive, and may it be sent work? For load balancers and supervisors; open to all.

GET /healthz    GET /readyz
"""

from aiohttp import web

from headgate.errors import ShuttingDown
from headgate.jobs import Jobs
from headgate.web.answer import Answer, json_answer
from headgate.web.expect import deferred

__all__ = ["HEALTH_ROUTES", "HealthRoutes"]

#: Names of the routes that need no user.
HEALTH_ROUTES = frozenset({"healthz", "readyz"})


class HealthRoutes:
    """The handlers of ``/healthz`` and ``/readyz``."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/healthz", self.healthz, name="healthz", expect_handler=deferred)
        router.add_get("/readyz", self.readyz, name="readyz", expect_handler=deferred)

    async def healthz(self, request: web.Request) -> Answer:
        """200 as long as the loop turns."""
        return json_answer({"status": "alive"})

    async def readyz(self, request: web.Request) -> Answer:
        """200 while new jobs are taken, 503 from the moment that the server drains."""
        if self._jobs.closing:
            raise ShuttingDown
        return json_answer({"status": "ready"})
