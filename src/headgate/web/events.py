"""Server-sent events: everybody who may can watch jobs begin, move, change and end.

GET /jobs/events

Rules of this room:

- A watcher is told everything first (``snapshot``), then every change of state at once (``job``), and four times a
  second those that moved (``progress``). Whoever comes back is told everything again, so nothing is missed.
- A job is put into words once, for all who may see it. A transfer never waits for a watcher: it leaves its words and
  goes on.
- A watcher that does not keep up costs no more than `max_events_behind`: then what it has not read is forgotten, and
  it is told everything anew. Progress is left out as long as it is behind.
"""

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from collections.abc import Iterator
from uuid import UUID

from aiohttp import web
from aiohttp_sse import sse_response

from headgate.config import Config
from headgate.errors import Busy, Disconnected
from headgate.jobs import Job, Jobs
from headgate.web.auth import USER, User, may_see
from headgate.web.expect import deferred
from headgate.web.jobs import AT_A_TIME, job_json, jobs_text

__all__ = ["EventRoutes"]

#: Seconds between two tellings of what moved.
PROGRESS = 0.25

#: Watchers that are woken before others have a turn of the loop: about a millisecond's work.
AT_ONCE = 20


class _Watcher:
    """Somebody who watches: what it has not been told yet."""

    __slots__ = ("_most", "anew", "closed", "events", "missed", "request", "user", "woken")

    def __init__(self, request: web.Request, user: User, most: int) -> None:
        self.request = request
        self.user = user
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


class EventRoutes:
    """The handler of ``/jobs/events``, and what goes on behind it while anybody watches."""

    def __init__(self, config: Config, jobs: Jobs) -> None:
        self._config = config
        self._jobs = jobs
        #: By whose jobs they may see; None: everybody's.
        self._audiences: defaultdict[str | None, set[_Watcher]] = defaultdict(set)
        self._number = 0
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
        if request.transport is None:  # while we asked who it is
            raise Disconnected
        watcher = _Watcher(request, request[USER], self._config.max_events_behind)
        with self._watching(watcher):
            async with sse_response(request, send_timeout=self._config.idle_timeout) as response:
                with contextlib.suppress(ConnectionError, TimeoutError):  # it is gone, or takes nothing for too long
                    while True:
                        if watcher.anew:
                            watcher.anew = False
                            text = await jobs_text([job for job in self._jobs if may_see(watcher.user, job)])
                            await response.send(text, event="snapshot")
                        elif watcher.events:
                            kind, text = watcher.events.popleft()
                            await response.send(text, event=kind)
                        elif watcher.closed:
                            break
                        else:
                            watcher.woken.clear()
                            await watcher.woken.wait()
        return response

    def close(self) -> None:
        """The server is going: let everybody go."""
        for watcher in self._watchers():
            watcher.closed = True
            self._wake(watcher)

    @contextlib.contextmanager
    def _watching(self, watcher: _Watcher) -> Iterator[None]:
        audience = None if watcher.user.admin else watcher.user.name
        self._audiences[audience].add(watcher)
        self._number += 1
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            self._number -= 1
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
            moved: list[tuple[Job, tuple[object, ...], str]] = []
            for number, job in enumerate(self._jobs.live(), 1):
                seen = (job.owner in self._audiences or None in self._audiences) and self._has_moved(job)
                if seen:
                    moved.append((job, (job.state, job.limit), json.dumps(job_json(job))))
                if not number % AT_A_TIME:
                    await asyncio.sleep(0)
            # What has changed since was told at once, and is newer than this.
            current = [(job.owner, text) for job, was, text in moved if (job.state, job.limit) == was]
            for audience, watchers in list(self._audiences.items()):
                text = _progress([text for owner, text in current if audience in (None, owner)])
                for watcher in list(watchers):
                    if watcher.missed and not watcher.events:
                        watcher.missed = False
                        mine = [job for job in self._jobs.live() if may_see(watcher.user, job)]
                        self._tell_progress(watcher, _progress([json.dumps(job_json(job)) for job in mine]))
                        await asyncio.sleep(0)
                    else:
                        self._tell_progress(watcher, text)

    def _tell_progress(self, watcher: _Watcher, text: str) -> None:
        if watcher.request.transport is None:  # a host that does not cancel handlers tells nobody
            watcher.closed = True
        elif not text:
            return
        elif watcher.events:
            watcher.missed = True
            return
        else:
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
    """Jobs in words as one text; none if there are none."""
    return '{"jobs": [' + ", ".join(texts) + "]}" if texts else ""
