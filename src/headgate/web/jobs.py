"""Jobs over HTTP: how one reads in JSON, how one is named, found and terminated.

GET /jobs    GET /jobs/{id}    DELETE /jobs/{id}
"""

import asyncio
import json
import math
from datetime import datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from headgate.errors import HeadgateError, JobNotFound, MalformedRequest
from headgate.jobs import Job, Jobs, Kind
from headgate.web.answer import Answer, json_answer
from headgate.web.auth import USER, may_see
from headgate.web.expect import deferred

__all__ = ["JOB", "JobRoutes", "job_headers", "job_json", "requested_job_id", "terminate_own"]

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
        "id": str(job.id),
        "kind": job.kind,
        "state": job.state,
        "owner": job.owner,
        "names": list(job.names),
        "bytes_done": job.bytes_done,
        "bytes_total": job.bytes_total,
        "rate": round(rate),
        "limit": None,
        "eta": math.ceil(left / rate) if left is not None and rate > 0 else None,
        "created_at": _rfc3339(job.created_at),
        "updated_at": _rfc3339(job.updated_at),
        "ended_at": None if job.ended_at is None else _rfc3339(job.ended_at),
        "ended_by": job.ended_by,
        "reason": job.reason,
    }


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_url(request: web.Request, job: Job) -> str:
    """The path of `job`, under whatever prefix the application is mounted."""
    return str(request.app.router[JOB_ROUTE].url_for(id=str(job.id)))


def job_headers(request: web.Request, job: Job) -> dict[str, str]:
    """What every response to a transfer carries (RFC 8631: the status link tells what has become of it)."""
    return {"Job-Id": str(job.id), "Link": f'<{job_url(request, job)}>; rel="status"'}


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


async def terminate_own(request: web.Request, jobs: Jobs, kind: Kind, none: type[HeadgateError]) -> Answer:
    """Terminate the user's jobs of `kind`, or the one that ``?job=`` names (an admin may name anybody's).

    Raises `none` if there is nothing to terminate, and AlreadyFinished if all there was is past its point of no return.
    """
    user = request[USER]
    named = request.query.get("job")
    if named is None:
        chosen = [job for job in jobs.live() if job.kind is kind and job.owner == user.name]
    else:
        job = jobs.get(parse_job_id(named, none()))
        chosen = [] if job is None or job.kind is not kind or job.state.ended or not may_see(user, job) else [job]
    if not chosen:
        raise none
    stopped = await jobs.terminate(*chosen, by=user.name)
    return json_answer({"terminated": [str(job.id) for job in stopped]})


class JobRoutes:
    """The handlers of ``/jobs``."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs", self.list, expect_handler=deferred)
        router.add_get("/jobs/{id}", self.show, name=JOB_ROUTE, expect_handler=deferred)
        router.add_delete("/jobs/{id}", self.terminate, expect_handler=deferred)

    async def list(self, request: web.Request) -> Answer:
        user = request[USER]
        texts = []
        for number, job in enumerate([job for job in self._jobs if may_see(user, job)], 1):
            texts.append(json.dumps(job_json(job)))
            if not number % AT_A_TIME:
                await asyncio.sleep(0)  # thousands of jobs are not to hold up those that they are about
        return json_answer('{"jobs": [' + ", ".join(texts) + "]}")

    async def show(self, request: web.Request) -> Answer:
        return json_answer(job_json(self._find(request)))

    async def terminate(self, request: web.Request) -> Answer:
        job = self._find(request)
        await self._jobs.terminate(job, by=request[USER].name)
        return json_answer(job_json(job))

    def _find(self, request: web.Request) -> Job:
        job = self._jobs.get(parse_job_id(request.match_info["id"], JobNotFound()))
        if job is None or not may_see(request[USER], job):
            raise JobNotFound
        return job
