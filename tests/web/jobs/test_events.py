"""GET /jobs/events: a snapshot, every change of state, and progress; only of visible jobs, and without slowing a
transfer."""

import asyncio
import json
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from headgate import Actor, State
from headgate.web.jobs.event_routes import EventRoutes
from support import HeldUpload, as_user, eventually, file_form, part, serving, token_users

OPEN = part("a", b"x" * 1000)[:-2]


class Events:
    """What a watcher was told, as it came."""

    def __init__(self, response):
        self.response = response
        self.all = []
        self.times = []
        self.task = asyncio.create_task(self._read())

    async def _read(self):
        kind = data = None
        async for line in self.response.content:
            field, _, value = line.decode().rstrip("\r\n").partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                data = value
            elif not field and data is not None:
                self.all.append((kind, json.loads(data)))
                self.times.append(time.monotonic())
                data = None

    async def next(self, kind, *, after=0):
        """The first event of `kind` from the number `after` on."""
        return await eventually(
            lambda: next((said for which, said in self.all[after:] if which == kind), None), f"an event {kind}"
        )

    def states(self, id_):
        """Every state that a job was told to be in, one after the other, each once."""
        told = []
        for _, said in self.all:
            for job in said.get("jobs", [said]):
                if job["id"] == str(id_) and told[-1:] != [job["state"]]:
                    told.append(job["state"])
        return told


@asynccontextmanager
async def watching(server, user=None, **options):
    headers = as_user(user) if user else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as client,
        client.get(server.url + "/jobs/events", headers=headers, read_bufsize=2**24, **options) as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        events = Events(response)
        yield events
        events.task.cancel()


async def test_a_watcher_is_told_everything_first_and_then_every_change(server):
    """A snapshot as of GET /jobs; then each state as it comes, in its order, as the job reads everywhere."""
    done = await (await server.upload("before", b"x")).json()
    del done["files"]
    async with watching(server) as events:
        assert await events.next("snapshot") == {"jobs": [done]}
        upload = HeldUpload(server)
        upload.send(OPEN)
        job = await upload.began(990)
        for wanted in ("paused", "running"):
            async with server.client.patch(f"{server.url}/jobs/{job.id}", json={"state": wanted}) as response:
                told = await response.json()
            last = await eventually(
                lambda wanted=wanted: events.states(job.id)[-1] == wanted and events.all[-1], wanted
            )
            assert last[0] == "job"
            assert last[1].keys() == told.keys()
        upload.send(b"\r\n" + file_form("b", b"y"))
        upload.end()
        assert (await upload.response)[0] == 201
        await eventually(lambda: events.states(job.id)[-1:] == ["completed"])
        assert events.states(job.id) == ["running", "paused", "running", "finishing", "completed"]
        async with server.client.get(f"{server.url}/jobs/{job.id}") as response:
            assert events.all[-1] == ("job", await response.json())


async def test_a_change_is_told_at_once(server):
    """Not with the next look at what moves: hundreds of changes come in less time than as many looks would take."""
    upload = HeldUpload(server)
    upload.send(OPEN)
    job = await upload.began(990)
    async with watching(server) as events:
        await events.next("snapshot")
        began = time.monotonic()
        for _ in range(200):
            job.pause()
            job.resume()
            await asyncio.sleep(0)
        await eventually(lambda: sum(kind == "job" for kind, _ in events.all) == 400, "all changes")
        assert time.monotonic() - began < 50


async def test_progress_is_told_at_most_four_times_a_second(server):
    """And it is told: bytes, rate and what is left, as the job reads everywhere."""
    upload = HeldUpload(server)
    upload.send(OPEN)
    job = await upload.began(990)
    async with watching(server) as events:
        await events.next("snapshot")
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            upload.send(b"x" * 10_000)
            await asyncio.sleep(0.002)
        told = [(at, said) for at, (kind, said) in zip(events.times, events.all, strict=True) if kind == "progress"]
        assert 3 <= len(told) <= 7
        (last,) = told[-1][1]["jobs"]
        assert last["id"] == str(job.id)
        assert last["bytes_done"] > 100_000
        assert last["rate"] > 0
        moved = [said["jobs"][0]["bytes_done"] for _, said in told]
        assert moved == sorted(set(moved))


async def test_what_stands_still_is_told_ever_less(server):
    """An upload that waits for its client costs its watchers next to nothing."""
    upload = HeldUpload(server)
    upload.send(OPEN)
    job = await upload.began(990)
    job.pause()
    async with watching(server) as events:
        await events.next("snapshot")
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 1.2)
        assert sum(kind == "progress" for kind, _ in events.all) <= 1


async def test_one_is_told_of_ones_own_and_an_admin_of_all(team):
    async with watching(team, "alice") as alice, watching(team, "bob") as bob, watching(team, "root") as root:
        for events in (alice, bob, root):
            assert await events.next("snapshot") == {"jobs": []}
        for user in ("alice", "bob"):
            held = HeldUpload(team, as_user(user))
            held.send(OPEN)
            await held.began(990)
        jobs = team.jobs.live()
        await eventually(lambda: all(root.states(job.id) for job in jobs))
        await eventually(lambda: any(kind == "progress" for kind, _ in root.all))
        for events, owner in ((alice, "alice"), (bob, "bob")):
            await eventually(lambda events=events: len(events.all) > 1)
            told = [job["owner"] for _, said in events.all for job in said.get("jobs", [said])]
            assert set(told) == {owner}
    async with team.client.get(team.url + "/jobs/events") as response:
        assert response.status == 401


async def test_nothing_is_missed_while_one_was_away(server):
    """Whoever comes back, with Last-Event-ID or without, is told what has become of everything."""
    upload = HeldUpload(server)
    upload.send(OPEN)
    job = await upload.began(990)
    async with watching(server) as events:
        await events.next("snapshot")
    await server.jobs.terminate(job, by=Actor("somebody"))
    async with watching(server) as events:
        (told,) = (await events.next("snapshot"))["jobs"]
        assert (told["state"], told["ended_by"]) == ("terminated", "somebody")


async def test_a_watcher_that_does_not_keep_up_is_told_everything_anew(root, regime):
    """The events that wait for it are bounded, no transfer waits for it, and in the end it has the same state as
    others."""
    config = {"max_events_behind": 10}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        upload = HeldUpload(server)
        upload.send(OPEN)
        job = await upload.began(990)
        job.names = ("n" * 200_000,)  # so that few events fill the sockets between
        async with watching(server) as events:
            await events.next("snapshot")
            events.response.connection.transport.pause_reading()
            (watcher,) = (stream for each in _watchers(server) for stream in each.streams)
            began = time.monotonic()
            while not watcher.wants_snapshot:
                job.pause()
                job.resume()
                await asyncio.sleep(0)
                assert len(watcher.events) <= 10
                assert time.monotonic() - began < 20
            job.set_rate(12345)
            events.response.connection.transport.resume_reading()
            await eventually(lambda: sum(kind == "snapshot" for kind, _ in events.all) > 1, "a second snapshot")
            await eventually(lambda: events.all[-1][1].get("jobs", [events.all[-1][1]])[0]["limit"] == 12345)


def _watchers(server):
    handlers = (getattr(route.handler, "__self__", None) for route in server.app.router.routes())
    (routes,) = {each for each in handlers if isinstance(each, EventRoutes)}
    return routes._audiences.values()


async def test_a_watcher_that_was_behind_is_told_of_progress_that_it_missed(root, regime):
    """Though what moved stands still since: its last word is right."""
    async with serving(root, handler_cancellation=regime) as server:
        upload, other = HeldUpload(server), HeldUpload(server)
        upload.send(OPEN)
        other.send(OPEN)
        await eventually(lambda: len(server.jobs.live()) == 2)
        job, noisy = server.jobs.live()
        await eventually(lambda: min(job.bytes_done, noisy.bytes_done) >= 990)
        noisy.names = ("n" * 500_000,)
        async with watching(server) as events:
            await events.next("snapshot")
            events.response.connection.transport.pause_reading()
            (watcher,) = (stream for each in _watchers(server) for stream in each.streams)
            await eventually(lambda: noisy.set_rate((noisy.limit or 0) + 1) or len(watcher.events) > 3, "a queue")
            (upload if server.jobs.live()[0] is job else other).send(b"x" * 30_000)
            await eventually(lambda: max(job.bytes_done, noisy.bytes_done) > 30_000)
            moved = job if job.bytes_done > 30_000 else noisy
            await eventually(lambda: watcher.lacks_progress, "progress that was missed")
            events.response.connection.transport.resume_reading()

            def last():
                told = [
                    each for _, said in events.all for each in said.get("jobs", [said]) if each["id"] == str(moved.id)
                ]
                return told[-1]["bytes_done"] == moved.bytes_done

            await eventually(last, "the last word")


async def test_what_is_told_anew_is_not_told_before(server):
    """After an overflow, nothing older follows the snapshot that makes up for it."""
    upload = HeldUpload(server)
    upload.send(OPEN)
    await upload.began(990)
    async with watching(server) as events:
        await events.next("snapshot")
        (watcher,) = (stream for each in _watchers(server) for stream in each.streams)
        watcher.wants_snapshot = True
        watcher.add("job", "{}")
        assert not watcher.events


async def test_a_watcher_that_takes_nothing_is_let_go(root, regime):
    """Its place and its socket are free after the idle timeout."""
    config = {"idle_timeout": 0.3, "max_events_behind": 5}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        upload = HeldUpload(server)
        upload.send(OPEN)
        job = await upload.began(990)
        job.names = ("n" * 500_000,)
        async with watching(server) as events:
            await events.next("snapshot")
            events.response.connection.transport.pause_reading()

            def gone():
                if not job.state.ended:
                    job.set_rate((job.limit or 0) + 1)
                return not _watchers(server)

            await eventually(gone, "the end of the watcher")


async def test_a_watcher_that_leaves_is_forgotten(root, regime):
    async with serving(root, handler_cancellation=regime) as server:
        async with watching(server) as events:
            await events.next("snapshot")
            assert len(_watchers(server)) == 1
        await eventually(lambda: not _watchers(server), "the end of the watcher")
        assert not server.runner.server.connections or await eventually(
            lambda: all(each._current_request is None for each in server.runner.server.connections)
        )


async def test_one_watcher_too_many_is_refused_and_told_when_to_come_back(root):
    async with serving(root, config={"max_watchers": 1}) as server:
        async with watching(server) as events:
            await events.next("snapshot")
            async with server.client.get(server.url + "/jobs/events") as response:
                assert (response.status, (await response.json())["code"]) == (503, "busy")
                assert response.headers["Retry-After"]
        await eventually(lambda: not _watchers(server))
        async with watching(server) as events:
            await events.next("snapshot")


async def test_watchers_are_let_go_at_shutdown(root, regime):
    """They are told the last changes, and hold nothing up."""
    config = {"watch_interval": 0.02}  # an upload's answer lingers for so long
    async with serving(root, handler_cancellation=regime, authenticate=token_users, config=config) as server:
        async with watching(server, "alice") as events:
            await events.next("snapshot")
            upload = HeldUpload(server, as_user("alice"))
            upload.send(OPEN)
            job = await upload.began(990)
            upload.end()
            began = time.monotonic()
            await server.runner.cleanup()
            assert time.monotonic() - began < 0.9  # not the seconds that a handler in its way would be given
            await events.task
            assert events.states(job.id)[-1] == "failed"
    assert job.state is State.FAILED


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
async def test_events_are_asked_for_with_get(server, method):
    async with server.client.request(method, server.url + "/jobs/events") as response:
        assert response.status in (404, 405)
