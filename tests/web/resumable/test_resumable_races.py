"""Terminate, creation, takeover and shutdown against each other: at every moment one outcome, and nothing left."""

import asyncio
import contextlib
import json
import random
import threading
import time
from uuid import UUID, uuid4

import pytest

from headgate.errors import StorageFailed, Terminated
from headgate.jobs import Actor, State
from headgate.storage.local.incoming.staged_file import LocalStagedFile
from headgate.storage.local.partial.partial_file import LocalPartialFile
from support import as_user, eventually, serving, token_users
from tus import BYTES, call, create, held, job_id, named, offset, patch

MORE = {"Upload-Complete": "?0"}


def id_of(url):
    return UUID(job_id(url))


async def create_ietf(server):
    async with server.client.post(server.url + "/upload?filename=a", headers=MORE, data=b"") as response:
        return response.headers["Location"]


# Terminate.


async def test_terminate_while_a_request_closes_the_file(root, regime, monkeypatch):
    """Its bytes are written, its answer is not: what is terminated then is gone, and does not come back."""
    close, closing = LocalStagedFile.close, asyncio.Event()

    async def slow(self):
        closing.set()
        await asyncio.sleep(0.1)
        return await close(self)

    async with serving(root, handler_cancellation=regime) as server:
        url = await create(server, 10, headers=named("a"))
        monkeypatch.setattr(LocalStagedFile, "close", slow)
        task = asyncio.create_task(patch(server, url, 0, b"123"))
        await closing.wait()
        assert (await call(server, "DELETE", f"/jobs/{id_of(url)}")).status == 200
        assert server.staged() == []
        await task
        monkeypatch.undo()
        assert server.jobs.get(id_of(url)).state is State.TERMINATED
        assert (await patch(server, url, 3, b"4567890")).status == 410
        assert (server.published(), server.staged()) == ({}, [])


async def test_terminate_between_handing_on_and_waking(root):
    """The job was given to a request that waits and does not know of it yet."""
    async with serving(root) as server:
        url = await create(server, 10)
        job = server.jobs.get_live(id_of(url))

        def changed(changed, by):
            if changed.state is State.INTERRUPTED and changed.reason == "superseded":
                asyncio.get_running_loop().call_soon(job.stop, Terminated("x"))

        with held(b"123") as body:
            one = asyncio.create_task(patch(server, url, 0, body))
            await eventually(lambda: job.bytes_done == 3)
            server.jobs.listen(changed)
            await asyncio.gather(one, call(server, "HEAD", url))
        await job.wait_ended()
        assert (job.state, server.staged()) == (State.TERMINATED, [])


async def test_terminate_against_all_else_leaves_nothing(root, regime):
    """Looked at, added to and ended at once, a hundred times: ended is gone."""
    async with serving(root, handler_cancellation=regime) as server:
        for number in range(100):
            url = await create(server, 10)

            async def end(url=url, number=number):
                await asyncio.sleep(number % 30 / 10000)
                return await call(server, "DELETE", url)

            _, _, ended = await asyncio.gather(call(server, "HEAD", url), patch(server, url, 0, b"123"), end())
            assert ended.status == 204
            assert server.staged() == []


@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_who_comes_while_it_is_terminated_learns_that_it_is_gone(root, monkeypatch, method, protocol):
    """No byte is said to have been taken."""
    unlink, dropping, may = LocalPartialFile._unlink, threading.Event(), threading.Event()

    def slow(self):
        dropping.set()
        may.wait(20)
        return unlink(self)

    async with serving(root) as server:
        url = await (create(server, 10) if protocol == "tus" else create_ietf(server))
        monkeypatch.setattr(LocalPartialFile, "_unlink", slow)
        end = asyncio.create_task(call(server, "DELETE", f"/jobs/{id_of(url)}"))
        await eventually(dropping.is_set)
        if method == "HEAD":
            coming = asyncio.create_task(call(server, "HEAD", url))
        elif protocol == "tus":
            coming = asyncio.create_task(patch(server, url, 0, b"123"))
        else:
            headers = MORE | {"Upload-Offset": "0", "Content-Type": "application/partial-upload"}
            coming = asyncio.create_task(call(server, "PATCH", url, headers, data=b"123"))
        await asyncio.sleep(0.05)
        may.set()
        assert (await end).status == 200
        assert (await coming).status == 410


async def test_requests_of_every_kind_at_random_break_nothing(root, regime):
    """Nothing but answers that are meant; in the end no job, no byte, no promise is left."""
    dice = random.Random(5)
    config = {"watch_interval": 0.02, "quota": 10**6}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        urls = [await create(server, 1000) for _ in range(3)]
        statuses = set()

        async def some():
            for _ in range(40):
                place = dice.randrange(3)
                url = urls[place]
                kind = dice.choice(("head", "patch", "pause", "cut", "end"))
                if kind == "pause":
                    state = dice.choice(("paused", "running", "running"))
                    path = f"{server.url}/jobs/{id_of(url)}"
                    async with server.client.patch(path, json={"state": state}) as response:
                        statuses.add(response.status)
                    continue
                if kind == "end" and dice.random() < 0.2:
                    urls[place] = await create(server, 1000)
                    statuses.add((await call(server, "DELETE", url)).status)
                    continue
                head = call(server, "HEAD", url) if kind == "head" else patch(server, url, dice.randrange(4), b"1")
                task = asyncio.create_task(head)
                if kind == "cut":
                    await asyncio.sleep(dice.random() * 0.005)
                    task.cancel()
                await asyncio.wait([task], timeout=1)  # it may be paused
                if not task.done() and not task.cancel():
                    continue
                with contextlib.suppress(asyncio.CancelledError):
                    statuses.add((await task).status)

        await asyncio.gather(*(some() for _ in range(8)))
        assert statuses <= {200, 201, 204, 404, 409, 410, 423}
        if live := server.jobs.live():
            await server.jobs.terminate(*live, by=Actor("root"))
        assert (server.staged(), server.jobs.live(), server.storage.ledger.total) == ([], [], 0)


# Creation.


async def test_who_asks_for_what_is_being_created_does_not_harm_it(root):
    """It is not there yet, or it is; however they come."""
    async with serving(root) as server:
        for number in range(100):
            id_ = uuid4()

            async def ask(id_=id_, number=number):
                await asyncio.sleep(number % 40 / 5000)
                return await call(server, "HEAD", f"/tus/{id_}")

            headers = {"Upload-Length": "10", "Job-Id": str(id_)}
            created, asked = await asyncio.gather(call(server, "POST", "/tus/", headers), ask())
            assert created.status == 201
            assert asked.status in (200, 404)
            assert await offset(server, f"/tus/{id_}") == 0
            await call(server, "DELETE", f"/tus/{id_}")


async def test_an_id_that_a_stranger_takes_shows_nothing(root):
    """Of what was uploaded under it, before a restart (G6)."""
    async with serving(root, authenticate=token_users) as server:
        url = await create(server, 3, headers=as_user("alice") | {"Upload-Metadata": "secret aGlkZGVu"})
        await patch(server, url, 0, b"abc", **as_user("alice"))
    async with serving(root, authenticate=token_users) as server:
        await server.upload("bobs", b"x", headers=as_user("bob") | {"Job-Id": job_id(url)})
        path = f"/tus/{job_id(url)}"
        assert (await call(server, "HEAD", path, as_user("bob"))).status == 404
        assert (await call(server, "HEAD", path, as_user("alice"))).status == 200


async def test_interrupted_uploads_keep_nobody_else_out(root):
    """They hold nothing that others lack; they are their owner's own."""
    config = {"max_jobs": 2, "max_jobs_per_owner": 3}
    async with serving(root, authenticate=token_users, config=config) as server:
        urls = [await create(server, 10, headers=as_user("alice")) for _ in range(3)]
        assert (await call(server, "POST", "/tus/", {"Upload-Length": "1"} | as_user("alice"))).status == 429
        assert (await server.upload("f", b"x", headers=as_user("carol"))).status == 201
        async with contextlib.AsyncExitStack() as stack:
            tasks = []
            for url in urls[:2]:
                body = stack.enter_context(held(b"123"))
                tasks.append(asyncio.create_task(patch(server, url, 0, body, **as_user("alice"))))
                await eventually(lambda url=url: server.jobs.get_live(id_of(url)).bytes_done == 3)
            assert (await patch(server, urls[2], 0, b"123", **as_user("alice"))).status == 503
        await asyncio.gather(*tasks)


# Finishing and going down.


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_what_ends_during_a_drain_is_published(root, protocol):
    """As a form would be."""

    async def more(body):
        async for data in body:
            yield data
        yield b"456"

    async with serving(root, config={"drain_timeout": 10}) as server:
        with held(b"123") as body:
            if protocol == "tus":
                url = await create(server, 6, headers=named("a"))
                sending = asyncio.create_task(patch(server, url, 0, more(body)))
            else:
                headers = {"Upload-Complete": "?1"}
                sending = asyncio.create_task(call(server, "POST", "/upload?filename=a", headers, data=more(body)))
            job = await server.one_live_job()
            await eventually(lambda: job.bytes_done == 3)
            drain = asyncio.create_task(server.jobs.drain(10))
            await eventually(lambda: server.jobs.closing)
        assert (await sending).status == (204 if protocol == "tus" else 201)
        await drain
        assert server.published() == {"a": b"123456"}


async def test_what_came_whole_with_its_creation_is_published_though_its_client_has_gone(root, regime):
    wanted, may = asyncio.Event(), asyncio.Event()

    async def look(job, files):
        wanted.set()
        await may.wait()

    async with serving(root, handler_cancellation=regime, on_received=look) as server:
        headers = BYTES | {"Upload-Length": "3"} | named("a")
        sending = asyncio.create_task(call(server, "POST", "/tus/", headers, data=b"abc"))
        await wanted.wait()
        sending.cancel()
        await asyncio.wait([sending])
        may.set()
        await eventually(lambda: not server.jobs.live())
        assert server.published() == {"a": b"abc"}


async def test_a_chunked_creation_that_sends_nothing_is_let_go(root, regime):
    """With an expectation or without."""
    config = {"idle_timeout": 0.2, "watch_interval": 0.05, "linger_timeout": 0.1}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        for expect in ("", "Expect: 100-continue\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = "POST /tus/ HTTP/1.1\r\nHost: h\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 3\r\n"
            writer.write(f"{head}Transfer-Encoding: chunked\r\n{expect}\r\n".encode())
            got = await asyncio.wait_for(reader.read(), 20)
            assert b" 408 " in got
            assert (b"100 Continue" in got) == bool(expect)
            writer.close()


async def test_two_that_are_made_of_the_same_part(root, monkeypatch):
    """The first has it; the second learns that it is spent, or had it before."""
    append, may = LocalPartialFile.append, asyncio.Event()

    async def slow(self, other):
        if json.loads(self.record)["name"] == "second":
            await may.wait()
        return await append(self, other)

    monkeypatch.setattr(LocalPartialFile, "append", slow)
    async with serving(root) as server:
        part = await create(server, 3, headers={"Upload-Concat": "partial"})
        await patch(server, part, 0, b"aaa")
        final = {"Upload-Concat": f"final;{part}", "Job-Id": str(uuid4())} | named("second")
        second = asyncio.create_task(call(server, "POST", "/tus/", final))
        await eventually(lambda: any(job.names == ("second",) and job.task for job in server.jobs.live()))
        first = await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{part}"} | named("first"))
        may.set()
        assert (first.status, (await second).status) == (201, 410)
        assert server.published() == {"first": b"aaa"}


async def test_a_pending_whole_tells_its_length_and_is_tried_again(root, monkeypatch):
    """If the storage failed when it was made."""
    append, failed = LocalPartialFile.append, []

    async def fail_once(self, other):
        if not failed:
            failed.append(True)
            raise StorageFailed
        return await append(self, other)

    monkeypatch.setattr(LocalPartialFile, "append", fail_once)
    async with serving(root) as server:
        part = await create(server, 3, headers={"Upload-Concat": "partial"})
        final = (await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{part} {part}"} | named("w")))[
            "Location"
        ]
        head = await call(server, "HEAD", final)
        assert (head["Upload-Length"], head["Upload-Offset"]) == ("6", None)
        await patch(server, part, 0, b"aaa")
        await eventually(lambda: failed)
        deadline = time.monotonic() + 20
        while not server.published() and time.monotonic() < deadline:
            await call(server, "HEAD", final)
        assert server.published() == {"w": b"aaaaaa"}
