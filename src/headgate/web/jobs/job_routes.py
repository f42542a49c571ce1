"""Jobs over HTTP: listed, found, paused, slowed and terminated.

GET /jobs    GET /jobs/{id}    PATCH /jobs/{id}    DELETE /jobs/{id}

A handler finds the job among those that its user may see, and sends commands to the directory, which carries them out
wherever the job runs.
"""

from typing import Any

from aiohttp import web

from headgate.cluster import Command, JobDirectory, Pause, Resume, SetRate, Terminate
from headgate.config import Config
from headgate.errors import HeadgateError, InvalidOption, JobNotFound, MalformedRequest, UnsupportedMedia
from headgate.jobs import JobInfo, Kind, State
from headgate.lowlevel.fair_semaphore import FairSemaphore
from headgate.transfer.inbound.content import media_type
from headgate.web.expect import deferred
from headgate.web.jobs.job_access import find_job, requesting_actor, visible_owner
from headgate.web.jobs.job_ids import parse_job_id
from headgate.web.jobs.job_json import job_json, jobs_text
from headgate.web.jobs.job_links import JOB_ROUTE
from headgate.web.json_body import parse_json, read_text
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse, json_response, set_default_headers

__all__ = ["JobRoutes", "terminate_own"]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


async def terminate_own(
    request: web.Request, directory: JobDirectory, kind: Kind, nothing_live: type[HeadgateError]
) -> LingeringResponse:
    """Terminate the user's jobs of `kind`, or the one that ``?job=`` names (an admin may name that of any owner).

    Raises `nothing_live` if there is nothing to terminate, and AlreadyFinished if all there was is past its point of no
    return.
    """
    user = request[USER]
    named = request.query.get("job")
    if named is None:
        chosen = [job async for job in directory.list(user.name, live_only=True) if job.kind is kind]
    else:
        job = await find_job(directory, user, parse_job_id(named, nothing_live()))
        chosen = [] if job is None or job.kind is not kind or job.state.ended else [job]
    if not chosen:
        raise nothing_live
    stopped = await directory.terminate(chosen, by=requesting_actor(request))
    return json_response({"terminated": [job.id_text for job in stopped]})


class JobRoutes:
    """The handlers of ``/jobs``."""

    def __init__(self, config: Config, directory: JobDirectory) -> None:
        self._config = config
        self._directory = directory
        self._listings = FairSemaphore(1)  # one at a time is enough for the loop

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs", self.list, expect_handler=deferred)
        router.add_get("/jobs/{id}", self.show, name=JOB_ROUTE, expect_handler=deferred)
        router.add_patch("/jobs/{id}", self.change, expect_handler=deferred)
        router.add_delete("/jobs/{id}", self.terminate, expect_handler=deferred)

    async def list(self, request: web.Request) -> LingeringResponse:
        user = request[USER]
        async with self._listings.of(user.name):
            return json_response(await jobs_text(self._directory.list(visible_owner(user))))

    async def show(self, request: web.Request) -> LingeringResponse:
        return json_response(job_json(await self._find(request)))

    async def change(self, request: web.Request) -> LingeringResponse:
        """Pause, resume, slow: ``{"state": "paused" | "running"}``, ``{"limit": bytes per second | null}``, or both."""
        job = await self._find(request)
        type_ = media_type(request)
        if type_ not in (JSON, MERGE_PATCH):
            set_default_headers(request, {"Accept-Patch": f"{JSON}, {MERGE_PATCH}"})
            raise UnsupportedMedia('Send {"state": "paused"} or {"limit": 1048576} as application/json.')
        text = await read_text(request, limit=self._config.max_request_size, seconds=self._config.idle_timeout)
        commands = _commands(parse_json(text), is_merge_patch=type_ == MERGE_PATCH)
        if commands:
            job = await self._directory.command(job.id, *commands, owner=job.owner, by=requesting_actor(request))
        return json_response(job_json(job))

    async def terminate(self, request: web.Request) -> LingeringResponse:
        job = await self._find(request)
        by = requesting_actor(request)
        return json_response(job_json(await self._directory.command(job.id, Terminate(), owner=job.owner, by=by)))

    async def _find(self, request: web.Request) -> JobInfo:
        job = await find_job(self._directory, request[USER], parse_job_id(request.match_info["id"], JobNotFound()))
        if job is None:
            raise JobNotFound
        return job


def _commands(patch: Any, *, is_merge_patch: bool) -> "list[Command]":
    """The commands that `patch` asks for, checked before any of them is carried out.

    A merge patch (RFC 7396) has members as GET shows them, `state` and `limit`; an empty one changes nothing. Plain
    JSON may say `rate` instead of `limit`, as it always could. Raises MalformedRequest, InvalidOption.
    """
    if not isinstance(patch, dict):
        raise MalformedRequest("The body must be a JSON object.")
    changeable = {"state", "limit"} if is_merge_patch else {"state", "limit", "rate"}
    if patch.keys() - changeable or (not patch and not is_merge_patch):
        raise InvalidOption("Of a job, state and limit can be changed.")
    if {"limit", "rate"} <= patch.keys():
        raise InvalidOption("rate is another name of limit: send one of them.")
    commands: list[Command] = []
    for name in patch.keys() & {"limit", "rate"}:
        rate = patch[name]
        if rate is not None and (not isinstance(rate, int) or isinstance(rate, bool) or not 0 < rate < 2**63):
            raise InvalidOption(f"{name} must be a whole number of bytes per second above 0, or null for no limit.")
        commands.append(SetRate(rate))
    if "state" in patch:
        match patch["state"]:
            case State.PAUSED:
                commands.append(Pause())
            case State.RUNNING:
                commands.append(Resume())
            case _:
                raise InvalidOption('state must be "paused" or "running"; DELETE terminates.')
    return commands
