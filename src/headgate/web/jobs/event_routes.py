"""Server-sent events: everybody who may can watch jobs begin, move, change and end.

GET /jobs/events

Rules of this room:

- A watcher is told everything first (``snapshot``), then every change of state at once (``job``), and four times a
  second those that moved (``progress``). Whoever comes back is told everything again, so nothing is missed.
- A job is put into words once, for all who may see it. A transfer never waits for a watcher: it leaves its words and
  goes on.
- A tick does its work in pieces, with a turn of the loop between them: jobs are put into words, and words put together
  once for each owner, a few at a time.
- A watcher that does not keep up costs no more than `max_events_behind`: then what it has not read is forgotten, and
  it is told everything anew. Progress is left out as long as it is behind.
"""

import asyncio
import contextlib
import json
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from headgate.config import Config
from headgate.errors import Busy, Disconnected
from headgate.jobs import Job, Jobs
from headgate.web.expect import deferred
from headgate.web.jobs.job_routes import AT_A_TIME, job_json, jobs_text
from headgate.web.middleware.auth import USER, User

__all__ = ["EventRoutes"]

logger = logging.getLogger("headgate.web")

#: Seconds between two tellings of what moved.
PROGRESS = 0.25

#: Watchers that are woken, or given words, before others have a turn of the loop: about a millisecond's work.
AT_ONCE = 20


#: Characters from which on the text of an event is a large one.
LARGE = 64 * 1024

#: Jobs of whose progress one event tells: about 100 KB.
TOLD_AT_ONCE = 250


class _Watcher:
    """Somebody who watches: what it has not been told yet."""

    __slots__ = ("_most", "anew", "audience", "closed", "events", "missed", "request", "user", "woken")

    def __init__(self, request: web.Request, user: User, most: int) -> None:
        self.request = request
        self.user = user
        self.audience = None if user.admin else user.name  # whose jobs it may see; None: everybody's
        self.events: deque[tuple[str, str]] = deque()  # kinds and texts
        self.anew = True  # is to be told everything
        self.missed = False  # was not told of some progress
        self.closed = False
        self.woken = asyncio.Event()
        self._most = most

    def tell(self, kind: str, text: str) -> None:
        if self.anew:  # and what it is told then will be newer than this
            return
        if len(self.events) >= self._most:
            self.events.clear()
            self.anew = True
        else:
            self.events.append((kind, text))


@dataclass(frozen=True, slots=True)
class _Moved:
    """A job that has moved, in words, and what it was then."""

    job: Job
    was: tuple[object, ...]
    text: str

    @property
    def is_current(self) -> bool:
        return (self.job.state, self.job.limit) == self.was


class EventRoutes:
    """The handler of ``/jobs/events``, and what goes on behind it while anybody watches."""

    def __init__(self, config: Config, jobs: Jobs) -> None:
        self._config = config
        self._jobs = jobs
        #: By whose jobs they may see; None: everybody's.
        self._audiences: defaultdict[str | None, set[_Watcher]] = defaultdict(set)
        self._number = 0
        self._number_of: Counter[str] = Counter()
        self._to_wake: dict[_Watcher, None] = {}
        self._told: dict[UUID, tuple[object, ...]] = {}  # what was told of a job's progress
        self._ticking: asyncio.Task[None] | None = None
        jobs.watch(self._changed)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs/events", self.stream, allow_head=False, expect_handler=deferred)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Tell a watcher until it goes, or the server does."""
        if self._number >= self._config.max_watchers:
            raise Busy("The server has too many watchers of events.")
        if self._number_of[request[USER].name] >= self._config.max_watchers_per_owner:
            raise Busy(
                f"You watch the events {self._config.max_watchers_per_owner} times, and may not do so more often."
            )
        if request.transport is None:  # while we asked who it is
            raise Disconnected
        watcher = _Watcher(request, request[USER], self._config.max_events_behind)
        with self._watching(watcher):
            headers = {"X-Accel-Buffering": "no"}  # nginx is to hand each on as it comes
            async with sse_response(request, headers=headers, send_timeout=self._config.idle_timeout) as response:
                with contextlib.suppress(ConnectionError, TimeoutError):  # it is gone, or takes nothing for too long
                    while True:
                        if watcher.anew:
                            watcher.anew = False
                            text = await jobs_text(list(self._jobs.of(watcher.audience)))
                            await self._send(response, text, "snapshot")
                        elif watcher.events:
                            kind, text = watcher.events.popleft()
                            await self._send(response, text, kind)
                        elif watcher.closed:
                            break
                        else:
                            watcher.woken.clear()
                            await watcher.woken.wait()
        return response

    async def _send(self, response: EventSourceResponse, text: str, kind: str) -> None:
        """Send an event. Raises TimeoutError if the watcher takes nothing for too long."""
        if len(text) < LARGE:
            await response.send(text, event=kind)
            return
        # The library looks for line breaks, of which JSON has none; in megabytes that takes long.
        async with asyncio.timeout(self._config.idle_timeout):
            await response.write(f"event: {kind}\r\ndata: {text}\r\n\r\n".encode())

    def close(self) -> None:
        """The server is going: let everybody go."""
        for watcher in self._watchers():
            watcher.closed = True
            self._wake(watcher)

    @contextlib.contextmanager
    def _watching(self, watcher: _Watcher) -> Iterator[None]:
        audience, name = watcher.audience, watcher.user.name
        self._audiences[audience].add(watcher)
        self._number += 1
        self._number_of[name] += 1
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            self._number -= 1
            self._number_of[name] -= 1
            if not self._number_of[name]:
                del self._number_of[name]
            self._audiences[audience].discard(watcher)
            if not self._audiences[audience]:
                del self._audiences[audience]
            if not self._number and self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None
                self._told.clear()

    def _watchers(self) -> list[_Watcher]:
        return [watcher for watchers in self._audiences.values() for watcher in watchers]

    # What happens: synchronously, in the middle of a transfer.

    def _changed(self, job: Job) -> None:
        if job.state.ended:
            self._told.pop(job.id, None)
        text = None
        for audience in (job.owner, None):
            if audience in self._audiences:
                text = text or json.dumps(job_json(job))
                for watcher in self._audiences[audience]:
                    watcher.tell("job", text)
                    self._wake(watcher)

    def _wake(self, watcher: _Watcher) -> None:
        if not self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._to_wake[watcher] = None

    def _wake_some(self) -> None:
        for watcher in list(self._to_wake)[:AT_ONCE]:
            del self._to_wake[watcher]
            watcher.woken.set()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)

    # What moves: now and then.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS)
            try:
                await self._tell_what_moved()
            except Exception:
                logger.exception("a telling of what moves has failed; the next one comes")

    async def _tell_what_moved(self) -> None:
        moved: defaultdict[str | None, list[_Moved]] = defaultdict(list)  # by audience
        everybody = None in self._audiences
        for number, job in enumerate(self._jobs.live() if everybody else self._seen(), 1):
            if self._has_moved(job):
                one = _Moved(job, (job.state, job.limit), json.dumps(job_json(job)))
                for audience in (job.owner, None):
                    if audience in self._audiences:
                        moved[audience].append(one)
            if not number % AT_A_TIME:
                await asyncio.sleep(0)
        told = 0
        for audience, watchers in list(self._audiences.items()):
            # What has changed since was told at once, and is newer than this.
            current = [one.text for one in moved[audience] if one.is_current]
            texts = [_progress(current[at : at + TOLD_AT_ONCE]) for at in range(0, len(current), TOLD_AT_ONCE)]
            for watcher in list(watchers):
                if watcher.missed and not watcher.events:
                    watcher.missed = False
                    self._tell_progress(watcher, [await jobs_text(self._jobs.live(audience))])
                else:
                    self._tell_progress(watcher, texts)
                told += 1
                if not told % AT_ONCE:
                    await asyncio.sleep(0)

    def _seen(self) -> Iterator[Job]:
        """The live jobs of everybody who watches."""
        for audience in list(self._audiences):
            yield from self._jobs.live(audience)

    def _tell_progress(self, watcher: _Watcher, texts: list[str]) -> None:
        if watcher.request.transport is None:  # a host that does not cancel handlers tells nobody
            watcher.closed = True
        elif not texts:
            return
        elif watcher.events:
            watcher.missed = True
            return
        else:
            for text in texts:
                watcher.tell("progress", text)
        self._wake(watcher)

    def _has_moved(self, job: Job) -> bool:
        if job.state.ended:  # since we began
            return False
        # Of the rate two digits: that of a job which stands still sinks ever more slowly.
        now = (job.bytes_done, job.bytes_total, len(job.names), f"{job.rate:.1e}")
        if self._told.get(job.id) == now:
            return False
        self._told[job.id] = now
        return True


def _progress(texts: list[str]) -> str:
    """Jobs in words as one text."""
    return '{"jobs": [' + ", ".join(texts) + "]}"
