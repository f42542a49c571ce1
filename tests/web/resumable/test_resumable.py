"""What holds for resumable uploads whatever they speak: one job over many requests, whatever happens to those."""

import asyncio
import contextlib
import json
import os
import random
import time
from uuid import UUID, uuid4

import pytest

from headgate import Refused
from headgate.jobs import State
from support import as_user, eventually, serving, token_users
from tus import BYTES, begin_chunk_at, call, create, held, job_id, named, offset, patch


@pytest.fixture
async def server(root, regime):
    async with serving(root, handler_cancellation=regime, config={"watch_interval": 0.05}) as server:
        yield server


@contextlib.asynccontextmanager
async def appending(server, url, at, data):
    """A PATCH under way that has brought `data`, and brings no more; its task."""
    job = server.jobs.get_live(server_id(url))
    with held(data) as body:
        task = asyncio.create_task(patch(server, url, at, body))
        await eventually(lambda: job.bytes_done == at + len(data))
        yield task
    if not task.done():
        await asyncio.wait([task])


def server_id(url):
    return UUID(job_id(url))


# One job over many requests.


async def test_between_its_requests_an_upload_is_interrupted_and_keeps_its_bytes(server):
    """The same job all along, with the bytes that are there."""
    url = await create(server, 10, headers=named("a"))
    job = await server.one_live_job()
    assert (job.state, job.bytes_done, job.bytes_total) == (State.INTERRUPTED, 0, 10)
    async with appending(server, url, 0, b"123"):
        assert job.state is State.RUNNING
    await eventually(lambda: job.state is State.INTERRUPTED)
    assert job.bytes_done == 3
    await patch(server, url, 3, b"4567890")
    assert (job.state, job.bytes_done, job.names, job.reason) == (State.COMPLETED, 10, ("a",), None)


async def test_a_lost_connection_loses_nothing_that_arrived(server):
    """The job says why it is interrupted, and forgets that when bytes come again."""
    url = await create(server, 10**6)
    job = await server.one_live_job()
    async with appending(server, url, 0, b"x" * 5000) as task:
        task.cancel()
        await eventually(lambda: job.state is State.INTERRUPTED)
        assert job.reason == "disconnected"
    assert await offset(server, url) == 5000
    async with appending(server, url, 5000, b"x"):
        assert job.reason is None


@pytest.mark.parametrize("seed", range(10))
async def test_connections_cut_at_any_byte_cost_nothing(server, seed):
    """The server has what was sent before the cut, and in the end the whole."""
    choose = random.Random(seed)
    data = choose.randbytes(3_000_000)
    url = await create(server, len(data), headers=named("a"))
    job = server.jobs.get_live(server_id(url))
    sent = 0
    while (at := await offset(server, url)) < len(data) and "a" not in server.published():
        assert at == sent, "all that was sent is there"
        size = min(choose.choice([1, 700, 65536, 400_000]), len(data) - at)
        head = (
            f"PATCH /tus/{job_id(url)} HTTP/1.1\r\nHost: h\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {at}\r\n"
            f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data) - at}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + data[at : at + size])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        sent = at + size
        # Asking for the offset would end the request, be it before its first byte was taken in.
        await eventually(lambda: job.bytes_done == sent, "what was sent")  # noqa: B023 - called in this round
    await eventually(lambda: server.published() == {"a": data})


async def test_of_two_that_add_at_once_the_newer_goes_on(server):
    """The older ends first, is told why, and what it brought is kept."""
    url = await create(server, 10, headers=named("a"))
    async with appending(server, url, 0, b"12345") as older:
        assert (await patch(server, url, 5, b"67890")).status == 204
        refused = await older
    assert (refused.status, json.loads(refused.body)["code"]) == (409, "superseded")
    assert server.published() == {"a": b"1234567890"}


async def test_of_many_that_come_at_once_one_goes_on_and_all_are_answered(server):
    """However they interleave, the bytes are those of one sender after the other."""
    data = bytes(range(256)) * 4000
    url = await create(server, len(data), headers=named("a"))

    async def client(number):
        choose = random.Random(number)
        for _ in range(200):
            answer = await call(server, "HEAD", url)
            if answer.status != 200 or (at := int(answer["Upload-Offset"])) == len(data):
                return
            await patch(server, url, at, data[at : at + choose.randrange(1, 60_000)])

    await asyncio.gather(*map(client, range(8)))
    await eventually(lambda: server.published() == {"a": data})


# Control.


async def test_a_paused_upload_stays_paused_though_its_client_comes_anew(server):
    """Nobody gets round a pause, or a rate, by reconnecting; resumed, it goes on."""
    url = await create(server, 10, headers=named("a"))
    job = await server.one_live_job()
    async with appending(server, url, 0, b"123") as task:
        async with server.client.patch(f"{server.url}/jobs/{job.id}", json={"state": "paused", "rate": 10**6}):
            pass
        task.cancel()
        await eventually(lambda: job.task is None)
        assert (job.state, job.limit) == (State.PAUSED, 10**6)
    going_on = asyncio.create_task(patch(server, url, 3, b"4567890"))
    await eventually(lambda: job.task is not None)
    assert (job.state, job.bytes_done) == (State.PAUSED, 3)
    async with server.client.patch(f"{server.url}/jobs/{job.id}", json={"state": "running"}) as response:
        assert response.status == 200
    assert (await going_on).status == 204
    assert server.published() == {"a": b"1234567890"}


async def test_a_rate_is_kept_though_its_client_comes_again_and_again(server):
    """What had arrived when a request ended is kept, and paid for by the next."""
    url = await create(server, 10**8)
    job = await server.one_live_job()
    job.set_rate(10**6)
    began = time.monotonic()
    for _ in range(5):
        at = await offset(server, url)
        with held(b"x" * 4_000_000) as body:
            task = asyncio.create_task(patch(server, url, at, body))
            await eventually(lambda at=at: job.bytes_done > at)
            task.cancel()
            await asyncio.wait([task])
    moved = await offset(server, url)
    assert moved < 10**6 * (time.monotonic() - began + 1) + 1_500_000


async def test_an_interrupted_upload_can_be_paused_and_resumed(server):
    await create(server, 10)
    job = await server.one_live_job()
    for state, is_then in (("paused", "paused"), ("running", "interrupted")):
        async with server.client.patch(f"{server.url}/jobs/{job.id}", json={"state": state}) as response:
            assert (response.status, (await response.json())["state"]) == (200, is_then)


@pytest.mark.parametrize("way", ["job", "upload"])
@pytest.mark.parametrize("when", ["interrupted", "running", "paused"])
async def test_terminate_means_gone(server, when, way):
    """In every state, by every call: bytes, record, slot and quota are free when the terminate is answered (G1)."""
    url = await create(server, 10)
    job = await server.one_live_job()
    end = f"/jobs/{job.id}" if way == "job" else f"/upload/terminate?job={job.id}"
    async with contextlib.AsyncExitStack() as stack:
        if when != "interrupted":
            task = await stack.enter_async_context(appending(server, url, 0, b"123"))
        if when == "paused":
            job.pause()
        answer = await call(server, "DELETE", end)
        assert answer.status == 200
        assert (job.state, job.ended_by) == (State.TERMINATED, "anonymous")
        assert server.staged() == []
        assert server.jobs.live() == []
        assert server.storage.ledger.total == 0
        if when != "interrupted":
            refused = await task
            assert (refused.status, json.loads(refused.body)["code"]) == (410, "terminated")
    assert (await call(server, "HEAD", url)).status == 410


async def test_a_client_that_idles_is_let_go_and_its_bytes_are_kept(root, regime):
    config = {"idle_timeout": 0.2, "watch_interval": 0.02}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        url = await create(server, 10)
        with held(b"123") as body:
            refused = await patch(server, url, 0, body)
        assert (refused.status, json.loads(refused.body)["code"]) == (408, "idle-timeout")
        assert await offset(server, url) == 3


# Finishing.


async def test_on_received_sees_the_whole_once_and_may_refuse(root, regime):
    """A refused upload is gone."""
    seen = []

    async def look(job, files):
        seen.append([(file.name, file.size) for file in files])
        if files[0].name == "bad":
            raise Refused("not that one")

    async with serving(root, handler_cancellation=regime, on_received=look) as server:
        for name, status in (("good", 204), ("bad", 410)):
            url = await create(server, 6, headers=named(name))
            await patch(server, url, 0, b"123")
            assert (await patch(server, url, 3, b"456")).status == status
            assert (await call(server, "HEAD", url)).status == (200 if status == 204 else 410)
        assert seen == [[("good", 6)], [("bad", 6)]]
        assert server.published() == {"good": b"123456"}
        assert not [name for name in server.staged() if name.endswith(".kept")]


async def test_what_is_whole_is_published_though_its_client_has_gone(root, regime):
    """And who asks meanwhile waits for that, instead of being told what may not become true."""
    wanted, may = asyncio.Event(), asyncio.Event()

    async def look(job, files):
        wanted.set()
        await may.wait()

    async with serving(root, handler_cancellation=regime, on_received=look) as server:
        url = await create(server, 3, headers=named("a"))
        sending = asyncio.create_task(patch(server, url, 0, b"123"))
        await wanted.wait()
        sending.cancel()
        asking = asyncio.create_task(offset(server, url))
        await asyncio.wait([sending])
        assert not asking.done()
        may.set()
        assert await asking == 3
        assert server.published() == {"a": b"123"}


@pytest.mark.parametrize("way", ["/jobs/", "/tus/"])
async def test_terminate_stops_it_until_the_point_of_no_return(root, regime, way):
    """While the embedding service looks at it, for one (G2)."""
    wanted = asyncio.Event()

    async def look(job, files):
        wanted.set()
        await asyncio.Event().wait()

    async with serving(root, handler_cancellation=regime, on_received=look) as server:
        url = await create(server, 3, headers=named("a"))
        sending = asyncio.create_task(patch(server, url, 0, b"123"))
        await wanted.wait()
        assert (await call(server, "DELETE", way + job_id(url))).status in (200, 204)
        assert (await sending).status == 410
        assert (server.published(), server.staged()) == ({}, [])


async def test_a_paused_upload_is_not_published_before_it_is_resumed(server):
    url = await create(server, 3, headers=named("a"))
    job = await server.one_live_job()
    job.pause()
    sending = asyncio.create_task(patch(server, url, 0, b"123"))
    await eventually(lambda: job.task is not None)
    assert server.published() == {}
    job.resume()
    assert (await sending).status == 204
    assert server.published() == {"a": b"123"}


# Restarts.


async def test_it_goes_on_after_a_restart(root):
    """With its offset, its metadata and its owner; the job is there at once."""
    async with serving(root, authenticate=token_users) as server:
        url = await create(server, 10, headers=named("a") | as_user("alice"))
        assert (await patch(server, url, 0, b"123", **as_user("alice"))).status == 204
    async with serving(root, authenticate=token_users) as server:
        (job,) = server.jobs.live()
        assert (str(job.id), job.owner, job.state) == (job_id(url), "alice", State.INTERRUPTED)
        assert (job.bytes_done, job.bytes_total, job.names) == (3, 10, ("a",))
        path = f"/tus/{job_id(url)}"
        assert (await call(server, "HEAD", path, as_user("bob"))).status == 404
        head = await call(server, "HEAD", path, as_user("alice"))
        assert (head["Upload-Offset"], head["Upload-Metadata"]) == ("3", named("a")["Upload-Metadata"])
        assert (await patch(server, path, 3, b"4567890", **as_user("alice"))).status == 204
        assert server.published() == {"a": b"1234567890"}
    async with serving(root, authenticate=token_users) as server:
        assert server.jobs.live() == []
        assert (await call(server, "HEAD", path, as_user("alice")))["Upload-Offset"] == "10"
        assert (await call(server, "HEAD", path, as_user("bob"))).status == 404


async def test_a_shutdown_interrupts_what_runs(root, regime):
    """Its client is told to come back; its bytes are kept; the shutdown does not wait for interrupted uploads."""
    config = {"drain_timeout": 30}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        url = await create(server, 10, headers=named("a"))
        await create(server, 10)
        job = server.jobs.get_live(server_id(url))
        with held(b"123") as body:
            sending = asyncio.create_task(patch(server, url, 0, body))
            await eventually(lambda: job.bytes_done == 3)
            began = time.monotonic()
            await server.jobs.drain(0.05)
            await server.jobs.shut_down()
            assert time.monotonic() - began < 10
            refused = await sending
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "shutdown")
        assert (await call(server, "HEAD", url)).status == 503
    async with serving(root) as server:
        assert await offset(server, f"/tus/{job_id(url)}") == 3
        assert len(server.jobs.live()) == 2


async def test_what_was_whole_when_a_process_was_killed_is_published_by_the_next(root):
    """Before it had its name, or after that; once."""
    async with serving(root) as server:
        whole = await create(server, 3, headers=named("a"))
        linked = await create(server, 3, headers=named("b"))
        for url in (whole, linked):
            (root / ".staging" / f"{job_id(url)}.kept").write_bytes(b"123")
        os.link(root / ".staging" / f"{job_id(linked)}.kept", root / "b")
    async with serving(root) as server:
        await eventually(lambda: server.published() == {"a": b"123", "b": b"123"})
        await eventually(lambda: not server.jobs.live())
        for url in (whole, linked):
            assert await offset(server, f"/tus/{job_id(url)}") == 3
        assert all(name.endswith(".json") for name in server.staged())


@pytest.mark.parametrize("unchecked", [b"123", b"123456", b"1234567890"], ids=["none", "some", "all"])
async def test_what_was_not_held_against_its_checksum_when_a_process_was_killed_does_not_count(root, unchecked):
    """Not even if it seems to be whole."""
    async with serving(root) as server:
        url = await create(server, 10)
        await patch(server, url, 0, b"123")
        path = root / ".staging" / f"{job_id(url)}.kept"
        begin_chunk_at(root, url, 3)
        path.write_bytes(unchecked)
    async with serving(root) as server:
        assert server.jobs.live()[0].bytes_done == 3
        assert await offset(server, f"/tus/{job_id(url)}") == 3
        assert path.read_bytes() == b"123"
        assert server.published() == {}


async def test_another_server_on_the_same_root_can_take_it_over(root):
    """One that was running already; while the first one holds it, it says so."""
    async with serving(root) as first, serving(root) as second:
        url = await create(first, 10, headers=named("a"))
        path = f"/tus/{job_id(url)}"
        await patch(first, url, 0, b"123")
        assert await offset(second, path) == 3
        job = first.jobs.live()[0]
        with held(b"45") as body:
            sending = asyncio.create_task(patch(first, url, 3, body))
            await eventually(lambda: job.bytes_done == 5)
            locked = await call(second, "HEAD", path)
            assert (locked.status, locked["Retry-After"]) == (423, "2")
            sending.cancel()
        await eventually(lambda: job.task is None)
        assert await offset(second, path) == 5
        assert (await patch(second, path, 5, b"67890")).status == 204
        assert second.published() == {"a": b"1234567890"}
        assert await offset(first, path) == 10
        assert (first.jobs.live(), job.state, job.names) == ([], State.COMPLETED, ("a",))


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"owner": 1}'])
async def test_a_record_that_cannot_be_read_is_no_upload(root, record):
    id_ = uuid4()
    (root / ".staging").mkdir(parents=True)
    for suffix, data in ((".kept", b"123"), (".kept.json", record)):
        (root / ".staging" / f"{id_}{suffix}").write_bytes(data)
    async with serving(root) as server:
        assert server.jobs.live() == []
        assert (await call(server, "HEAD", f"/tus/{id_}")).status == 404


# Expiry.


async def test_an_upload_that_nobody_adds_to_expires(root):
    """Every later request gets 410, and nothing is left. A running upload does not expire."""
    config = {"upload_expiry": 0.3, "sweep_interval": 0.05}
    async with serving(root, config=config) as server:
        url, other = await create(server, 10), await create(server, 10)
        async with appending(server, other, 0, b"123") as running:
            await eventually(lambda: len(server.jobs.live()) == 1)
            answer = await call(server, "HEAD", url)
            assert (answer.status, answer["Upload-Offset"]) == (410, None)
            assert server.jobs.get(server_id(url)).reason == "expired"
            assert not running.done()
        await eventually(lambda: not server.jobs.live())
        assert server.staged() == []


async def test_an_upload_expires_though_nobody_looks(root):
    """Whoever comes for it too late is the first to notice."""
    async with serving(root, config={"upload_expiry": 0.1}) as server:
        url = await create(server, 10)
        past = time.time() - 1
        os.utime(root / ".staging" / f"{job_id(url)}.kept", (past, past))
        async with serving(root, config={"upload_expiry": 0.1}) as other:
            assert (await call(other, "HEAD", f"/tus/{job_id(url)}")).status == 410
            assert other.staged() == []


# Quotas.


async def test_quotas_count_what_is_kept_and_not_what_may_never_come(root):
    """While it comes, its length is promised; interrupted, only its bytes are."""
    async with serving(root, config={"quota": 1000}) as server:
        url = await create(server, 800)
        assert server.storage.ledger.total == 0
        async with appending(server, url, 0, b"x" * 300):
            assert server.storage.ledger.total == 800
            assert (await call(server, "POST", "/tus/", {"Upload-Length": "300"})).status == 507
        assert server.storage.ledger.total == 300
        assert (await call(server, "POST", "/tus/", {"Upload-Length": "701"})).status == 507
        other = await create(server, 700)
        await patch(server, other, 0, b"x" * 300, **{"Content-Length": "300"})
        refused = await patch(server, url, 300, b"x" * 100)
        assert (refused.status, json.loads(refused.body)["code"]) == (507, "quota-exceeded")
        await call(server, "DELETE", other)
        assert (await patch(server, url, 300, b"x" * 500)).status == 204
        assert server.storage.ledger.total == 800
    async with serving(root, config={"quota": 1000}) as server:
        url = await create(server, 200)
        await patch(server, url, 0, b"x" * 50)
        assert server.storage.ledger.total == 850
    async with serving(root, config={"quota": 1000}) as server:
        assert server.storage.ledger.total == 850


async def test_what_is_kept_counts_as_a_job_of_its_owner(root):
    async with serving(root, config={"max_jobs_per_owner": 2}) as server:
        urls = [await create(server, 10) for _ in range(2)]
        assert (await call(server, "POST", "/tus/", {"Upload-Length": "1"})).status == 429
        await call(server, "DELETE", urls[0])
        await create(server, 10)


async def test_an_id_is_taken_once(server):
    headers = {"Upload-Length": "10", "Job-Id": str(uuid4())}
    assert (await call(server, "POST", "/tus/", headers)).status == 201
    assert (await call(server, "POST", "/tus/", headers)).status == 409
    async with serving(server.root) as other:
        assert (await call(other, "POST", "/tus/", BYTES | headers, data=b"1")).status == 409
