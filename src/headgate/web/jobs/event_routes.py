"""Server-sent events: users watch their jobs begin, move, change and end.

GET /jobs/events

Each connected client has a `_EventStream`, a bounded queue of events that its handler sends. Streams that see the same
jobs (those of one owner, or of all) form an `_Audience`, which watches the directory for all of them.

Rules of this file:

- A stream begins with all jobs (``snapshot``); then come every change at once (``job``), and four times a second those
  jobs that moved (``progress``). A client that reconnects is sent everything again, so that it misses nothing.
- A job is put into JSON once for all streams of an audience. A transfer never waits for a client that watches it.
- A client that does not keep up costs no more than `max_events_behind` events: then they are dropped, and it is sent a
  snapshot. While a client is behind it is sent no progress; once it has caught up, one event with all live jobs.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from headgate.cluster import JobDirectory
from headgate.config import Config
from headgate.errors import Busy, Disconnected
from headgate.events import JobChanged, JobProgressed
from headgate.web.expect import deferred
from headgate.web.jobs.job_access import visible_owner
from headgate.web.jobs.job_json import job_text, jobs_text, list_text
from headgate.web.middleware.auth import USER

__all__ = ["EventRoutes"]

#: Streams that are woken in one turn of the loop: about a millisecond's work.
WAKES_PER_TURN = 20

#: Characters from which on the text of an event is written without the library's search for line breaks.
LARGE_EVENT_CHARACTERS = 64 * 1024

#: Jobs of whose progress one event tells: about 100 KB.
JOBS_PER_PROGRESS_EVENT = 250


class _EventStream:
    """One connected client: the events that it has not been sent yet."""

    __slots__ = (
        "_max_behind",
        "closed",
        "events",
        "lacks_progress",
        "request",
        "takes_progress",
        "wants_all_progress",
        "wants_snapshot",
        "woken",
    )

    def __init__(self, request: web.Request, max_behind: int) -> None:
        self.request = request
        self.events: deque[tuple[str, str]] = deque()  # kinds and texts
        self.wants_snapshot = True
        self.takes_progress = True  # in the round of progress that is under way
        self.lacks_progress = False
        self.wants_all_progress = False
        self.closed = False
        self.woken = asyncio.Event()
        self._max_behind = max_behind

    def add(self, kind: str, text: str) -> None:
        if self.wants_snapshot:  # which will be newer than this
            return
        if len(self.events) >= self._max_behind:
            self.events.clear()
            self.wants_snapshot = True
        else:
            self.events.append((kind, text))


class _Audience:
    """The streams that see the jobs of one owner, or of all. `wake`: has a stream's handler go on."""

    def __init__(self, wake: Callable[[_EventStream], None]) -> None:
        self.streams: set[_EventStream] = set()
        self.watching = contextlib.ExitStack()
        self._wake = wake
        self._progress: list[str] = []  # of the round that is under way, in JSON
        self._round_has_begun = False

    def on_event(self, event: JobChanged | JobProgressed) -> None:
        """Is called by the directory, in the middle of a transfer: queues the event for every stream."""
        if isinstance(event, JobChanged):
            self._flush_progress()  # it is older than the change
            self._add("job", job_text(event.job), self.streams)
            return
        if event.jobs and not self._round_has_begun:
            self._begin_round()
        self._progress += [job_text(job) for job in event.jobs]
        if event.is_last or len(self._progress) >= JOBS_PER_PROGRESS_EVENT:
            self._flush_progress()
        if event.is_last:
            self._end_round()

    def _begin_round(self) -> None:
        self._round_has_begun = True
        for stream in self.streams:
            stream.takes_progress = not stream.events
            stream.lacks_progress |= not stream.takes_progress

    def _end_round(self) -> None:
        self._round_has_begun = False
        for stream in self.streams:
            if stream.request.transport is None:  # the only sign, on a host that does not cancel handlers
                stream.closed = True
                self._wake(stream)
            elif stream.lacks_progress and not stream.events:
                stream.wants_all_progress = True
                self._wake(stream)

    def _flush_progress(self) -> None:
        texts, self._progress = self._progress, []
        if texts:
            self._add("progress", list_text(texts), {each for each in self.streams if each.takes_progress})

    def _add(self, kind: str, text: str, streams: set[_EventStream]) -> None:
        for stream in streams:
            stream.add(kind, text)
            self._wake(stream)


class EventRoutes:
    """The handler of ``/jobs/events``."""

    def __init__(self, config: Config, directory: JobDirectory) -> None:
        self._config = config
        self._directory = directory
        self._audiences: dict[str | None, _Audience] = {}  # by the owner whose jobs they see; None: everybody's
        self._size = 0
        self._size_by_user: Counter[str] = Counter()
        self._to_wake: dict[_EventStream, None] = {}

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/jobs/events", self.stream, allow_head=False, expect_handler=deferred)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events until the client goes, or the server does. Raises Busy, Disconnected."""
        self._check_clients(request[USER].name)
        if request.transport is None:  # it went while it was being authenticated
            raise Disconnected
        stream, owner = _EventStream(request, self._config.max_events_behind), visible_owner(request[USER])
        with self._joined(stream, owner):
            headers = {"X-Accel-Buffering": "no"}  # nginx is to pass each event on as it comes
            async with sse_response(request, headers=headers, send_timeout=self._config.idle_timeout) as response:
                with contextlib.suppress(ConnectionError, TimeoutError):  # it is gone, or takes nothing for too long
                    while await self._send_next(stream, response, owner):
                        pass
        return response

    def _check_clients(self, user: str) -> None:
        config = self._config
        if self._size >= config.max_watchers:
            raise Busy("The server has too many watchers of events.")
        if self._size_by_user[user] >= config.max_watchers_per_owner:
            raise Busy(f"You watch the events {config.max_watchers_per_owner} times, and may not do so more often.")

    async def _send_next(self, stream: _EventStream, response: EventSourceResponse, owner: str | None) -> bool:
        """Send one event, or wait for one; False when there will be no more."""
        if stream.wants_snapshot:
            stream.wants_snapshot = False
            await self._send(response, await jobs_text(self._directory.list(owner)), "snapshot")
        elif stream.events:
            kind, text = stream.events.popleft()
            await self._send(response, text, kind)
        elif stream.closed:
            return False
        elif stream.wants_all_progress:
            stream.wants_all_progress = stream.lacks_progress = False
            await self._send(response, await jobs_text(self._directory.list(owner, live_only=True)), "progress")
        else:
            stream.woken.clear()
            await stream.woken.wait()
        return True

    async def _send(self, response: EventSourceResponse, text: str, kind: str) -> None:
        """Send an event. Raises TimeoutError if the client takes nothing for too long."""
        if len(text) < LARGE_EVENT_CHARACTERS:
            await response.send(text, event=kind)
            return
        # The library looks for line breaks, of which JSON has none; in megabytes that takes long.
        async with asyncio.timeout(self._config.idle_timeout):
            await response.write(f"event: {kind}\r\ndata: {text}\r\n\r\n".encode())

    def close(self) -> None:
        """The server shuts down: end all streams, after what they have yet to be sent."""
        for audience in self._audiences.values():
            for stream in audience.streams:
                stream.closed = True
                self._wake(stream)

    @contextlib.contextmanager
    def _joined(self, stream: _EventStream, owner: str | None) -> Iterator[None]:
        user = stream.request[USER].name
        audience = self._audiences.get(owner)
        if audience is None:
            audience = self._audiences[owner] = _Audience(self._wake)
            audience.watching.enter_context(self._directory.watch(audience.on_event, owner))
        audience.streams.add(stream)
        self._size += 1
        self._size_by_user[user] += 1
        try:
            yield
        finally:
            self._size -= 1
            self._size_by_user[user] -= 1
            if not self._size_by_user[user]:
                del self._size_by_user[user]
            audience.streams.discard(stream)
            if not audience.streams:
                audience.watching.close()
                del self._audiences[owner]

    def _wake(self, stream: _EventStream) -> None:
        if not self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)
        self._to_wake[stream] = None

    def _wake_some(self) -> None:
        for stream in list(self._to_wake)[:WAKES_PER_TURN]:
            del self._to_wake[stream]
            stream.woken.set()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)
