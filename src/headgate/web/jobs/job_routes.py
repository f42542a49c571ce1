"""Jobs over HTTP: how one reads in JSON, how one is named, found, held, slowed and terminated.

GET /jobs    GET /jobs/{id}    PATCH /jobs/{id}    DELETE /jobs/{id}
"""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from headgate.config import Config
from headgate.errors import HeadgateError, InvalidOption, JobNotFound, MalformedRequest, UnsupportedMedia
from headgate.jobs import Job, Jobs, Kind, State
from headgate.transfer.inbound.content import media_type
from headgate.web.expect import deferred
from headgate.web.fair_semaphore import FairSemaphore
from headgate.web.json_body import parse_json, read_text
from headgate.web.middleware.auth import USER, User
from headgate.web.responses import LingeringResponse, json_answer, rfc3339, tell

__all__ = [
    "JOB",
    "PUBLIC_PATH",
    "JobRoutes",
    "job_headers",
    "job_json",
    "jobs_text",
    "parse_job_id",
    "public_path",
    "requested_job_id",
    "terminate_own",
]

#: Where code that runs within a transfer's request finds its job.
JOB = web.RequestKey("headgate.job", Job)

#: Jobs that are put into JSON before others have a turn: about a millisecond's work.
AT_A_TIME = 50

#: The route of one job, from whose place in the router every link to it is built.
JOB_ROUTE = "job"


def job_json(job: Job) -> dict[str, Any]:
    """A job, as it reads everywhere."""
    rate = job.rate
    left = None if job.bytes_total is None else job.bytes_total - job.bytes_done
    return {
        "id": job.id_text,
        "kind": job.kind,
        "state": job.state,
        "owner": job.owner,
        "names": list(job.names),
        "bytes_done": job.bytes_done,
        "bytes_total": job.bytes_total,
        "rate": round(rate),
        "limit": job.limit,
        "eta": math.ceil(left / rate) if left is not None and rate > 0 else None,
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.updated_at),
        "ended_at": None if job.ended_at is None else rfc3339(job.ended_at),
        "ended_by": job.ended_by,
        "reason": job.reason,
    }


async def jobs_text(jobs: Sequence[Job]) -> str:
    """`jobs` as JSON: ``{"jobs": [...]}``."""
    texts = []
    for number, job in enumerate(jobs, 1):
        texts.append(json.dumps(job_json(job)))
        if not number % AT_A_TIME:
            await asyncio.sleep(0)  # thousands of jobs are not to hold up those that they are about
    return '{"jobs": [' + ", ".join(texts) + "]}"


#: The path of `Config.public_url`: what a proxy puts before ours.
PUBLIC_PATH = web.AppKey("headgate.public_path", str)


def public_path(request: web.Request, path: str) -> str:
    """`path` as clients know it."""
    return request.app[PUBLIC_PATH] + path


def job_url(request: web.Request, job: Job) -> str:
    """The path of `job`, under whatever prefix the application is mounted."""
    return public_path(request, request.app.router[JOB_ROUTE].canonical.format(id=job.id_text))


def job_headers(request: web.Request, job: Job) -> dict[str, str]:
    """What every response to a transfer carries (RFC 8631: the status link tells what has become of it)."""
    return {"Job-Id": job.id_text, "Link": f'<{job_url(request, job)}>; rel="status"'}


def requested_job_id(request: web.Request) -> UUID | None:
    """The id that the client wants its job to have. Raises MalformedRequest if ``Job-Id`` is not a UUID."""
    text = request.headers.get("Job-Id")
    return None if text is None else parse_job_id(text, MalformedRequest("Job-Id must be a UUID."))


def parse_job_id(text: str, error: HeadgateError) -> UUID:
    """The UUID `text` in its canonical form (RFC 9562, section 4); raises `error` for anything else."""
    try:
        id_ = UUID(text)
    except ValueError:
        raise error from None
    if str(id_) != text.lower():
        raise error
    return id_


def find_job(jobs: Jobs, user: User, id_: UUID) -> Job | None:
    """The job `id_` of `user`, or, for an admin who has none, of anybody (G6)."""
    job = jobs.get(id_, user.name)
    return jobs.get(id_) if job is None and user.admin else job


async def terminate_own(request: web.Request, jobs: Jobs, kind: Kind, none: type[HeadgateError]) -> LingeringResponse:
    """Terminate the user's jobs of `kind`, or the one that ``?job=`` names (an admin may name anybody's).

    Raises `none` if there is nothing to terminate, and AlreadyFinished if all there was is past its point of no return.
    """
    user = request[USER]
    named = request.query.get("job")
    if named is None:
        chosen = [job for job in jobs.live(user.name) if job.kind is kind]
    else:
        job = find_job(jobs, user, parse_job_id(named, none()))
        chosen = [] if job is None or job.kind is not kind or job.state.ended else [job]
    if not chosen:
        raise none
    stopped = await jobs.terminate(*chosen, by=user.name)
    return json_answer({"terminated": [str(job.id) for job in stopped]})


_JSON = frozenset({"application/json", "application/merge-patch+json"})


def _checked(wanted: Any) -> dict[str, Any]:
    """What may be wanted of a job. Raises MalformedRequest, or InvalidOption before anything of it is done."""
    if not isinstance(wanted, dict):
        raise MalformedRequest("The body must be a JSON object.")
    if not wanted or wanted.keys() - {"state", "rate"}:
        raise InvalidOption("Of a job, state and rate can be changed.")
    if wanted.get("state", State.PAUSED) not in (State.PAUSED, State.RUNNING):
        raise InvalidOption('state must be "paused" or "running"; DELETE terminates.')
    rate = wanted.get("rate")
    if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or not 0 < rate < 2**63):
        raise InvalidOption("rate must be a whole number of bytes per second above 0, or null for no limit.")
    return wanted


class JobRoutes:
    """The handlers of ``/jobs``."""

    def __init__(self, config: Config, jobs: Jobs) -> None:
        self._config = config
        self._jobs = jobs
        self._turns = FairSemaphore(1)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs", self.list, expect_handler=deferred)
        router.add_get("/jobs/{id}", self.show, name=JOB_ROUTE, expect_handler=deferred)
        router.add_patch("/jobs/{id}", self.change, expect_handler=deferred)
        router.add_delete("/jobs/{id}", self.terminate, expect_handler=deferred)

    async def list(self, request: web.Request) -> LingeringResponse:
        user = request[USER]
        async with self._turns.of(user.name):  # each piece is a millisecond's work, and one at a time is enough
            return json_answer(await jobs_text(list(self._jobs.of(None if user.admin else user.name))))

    async def show(self, request: web.Request) -> LingeringResponse:
        return json_answer(job_json(self._find(request)))

    async def change(self, request: web.Request) -> LingeringResponse:
        """Pause, resume, slow: ``{"state": "paused" | "running"}``, ``{"rate": bytes per second | null}``, or both."""
        job = self._find(request)
        if media_type(request) not in _JSON:
            tell(request, {"Accept-Patch": ", ".join(sorted(_JSON))})
            raise UnsupportedMedia('Send {"state": "paused"} or {"rate": 1048576} as application/json.')
        text = await read_text(request, limit=self._config.max_request_size, seconds=self._config.idle_timeout)
        wanted = _checked(parse_json(text))
        if "rate" in wanted:
            job.narrow(wanted["rate"])
        match wanted.get("state"):
            case State.PAUSED:
                job.pause()
            case State.RUNNING:
                job.resume()
        return json_answer(job_json(job))

    async def terminate(self, request: web.Request) -> LingeringResponse:
        job = self._find(request)
        await self._jobs.terminate(job, by=request[USER].name)
        return json_answer(job_json(job))

    def _find(self, request: web.Request) -> Job:
        job = find_job(self._jobs, request[USER], parse_job_id(request.match_info["id"], JobNotFound()))
        if job is None:
            raise JobNotFound
        return job
