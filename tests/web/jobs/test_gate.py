"""PATCH /jobs/{id}: a transfer is held, let go and slowed from outside, on real sockets."""

import asyncio
import hashlib
import os
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from headgate import State
from support import FORM, HeldUpload, as_user, eventually, file_form, part, serving, token_users

MIB = 1024 * 1024
KINDS = ("upload", "stored", "generated")

#: A transfer that takes a while, and whose bytes are known.
BLOCK = os.urandom(MIB)


class Rows:
    """A generated export: how often it was asked for more."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.asked = 0
        self.closed = False

    async def __call__(self):
        try:
            while self.asked < self.blocks:
                self.asked += 1
                yield BLOCK[:65536]
                await asyncio.sleep(0)
        finally:
            self.closed = True


class Transfer:
    """One of some `size` bytes, moved as fast as it may by a client that keeps its digest."""

    def __init__(self, server, kind, size, **headers):
        self.server = server
        self.kind = kind
        self.size = size
        self.headers = headers
        self.sent = hashlib.sha256()
        self.got = hashlib.sha256()
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        async with aiohttp.ClientSession() as client:
            if self.kind == "upload":
                return await self._upload(client)
            name = {"filename": self.kind}
            async with client.post(self.server.url + "/export", json=name, headers=self.headers) as response:
                async for chunk in response.content.iter_any():
                    self.got.update(chunk)
                return response.status

    async def _upload(self, client):
        head, tail = part("a", b"")[:-2], file_form("x", b"").split(b"\r\n\r\n", 1)[1]

        async def whole():
            yield head
            for _ in range(self.size // MIB):
                self.sent.update(BLOCK)
                yield BLOCK
            yield tail

        headers = FORM | self.headers
        async with client.post(self.server.url + "/upload", data=whole(), headers=headers) as response:
            await response.read()
            return response.status

    async def began(self, size=1):
        job = await self.server.one_live_job()
        await eventually(lambda: job.bytes_done >= size, "some bytes")
        return job


@asynccontextmanager
async def transferring(root, regime, kind, size=200 * MIB, **options):
    """A server, and a transfer of `kind` that has begun."""
    rows = Rows(size // 65536)
    options.setdefault("config", {})
    async with serving(root, handler_cancellation=regime, exports={"generated": rows}, **options) as server:
        if kind == "stored":
            with (root / "stored").open("wb") as file:
                for _ in range(size // MIB):
                    file.write(BLOCK)
        transfer = Transfer(server, kind, size)
        transfer.rows = rows
        try:
            yield server, transfer
        finally:
            transfer.task.cancel()
            with suppress(asyncio.CancelledError, aiohttp.ClientError):
                await transfer.task


async def change(server, job, **wanted):
    async with server.client.patch(f"{server.url}/jobs/{job.id}", json=wanted) as response:
        return response.status, await response.json(content_type=None)


def digest(size):
    whole = hashlib.sha256()
    for _ in range(size // MIB):
        whole.update(BLOCK)
    return whole.hexdigest()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_paused_transfer_stands_still_and_completes_whole_when_resumed(root, regime, kind):
    """No byte moves, a generator is asked for no more, the client's own socket fills; then all of it arrives."""
    size = 64 * MIB
    async with transferring(root, regime, kind, size) as (server, transfer):
        job = await transfer.began()
        status, body = await change(server, job, rate=16 * MIB)  # so that it is not over before it is paused
        assert (status, body["limit"]) == (200, 16 * MIB)
        status, body = await change(server, job, state="paused")
        assert (status, body["state"], body["rate"], body["eta"]) == (200, "paused", 0, None)
        moved, asked = job.bytes_done, transfer.rows.asked
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.5)
        assert (job.bytes_done, transfer.rows.asked) == (moved, asked)
        assert not transfer.task.done()
        status, body = await change(server, job, state="running", rate=None)
        assert (status, body["state"], body["limit"]) == (200, "running", None)
        assert await transfer.task == (201 if kind == "upload" else 200)
        assert job.state is State.COMPLETED
        assert job.bytes_done == size
        if kind == "upload":
            assert hashlib.sha256((root / "a").read_bytes()).hexdigest() == digest(size)
        elif kind == "stored":
            assert transfer.got.hexdigest() == digest(size)
        else:
            assert transfer.rows.closed


@pytest.mark.alone
@pytest.mark.parametrize("kind", KINDS)
async def test_a_rate_is_kept_on_a_real_socket_and_lifted(root, kind):
    """Bytes over time, within 10% on a machine that does other things besides (the virtual clock has the 5%)."""
    rate = 4 * MIB
    async with transferring(root, False, kind) as (server, transfer):
        job = await transfer.began()
        await change(server, job, rate=rate)
        handed_on = job.bytes_done  # a slice may be with the kernel already
        await eventually(lambda: job.bytes_done > handed_on)
        began, at = time.monotonic(), job.bytes_done
        await eventually(lambda: job.bytes_done - at >= 2 * rate, "two seconds' worth")
        measured = (job.bytes_done - at) / (time.monotonic() - began)
        assert measured == pytest.approx(rate, rel=0.1)
        await change(server, job, rate=None)
        began, at = time.monotonic(), job.bytes_done
        await eventually(lambda: job.bytes_done - at >= 20 * MIB, "many more bytes")
        assert (job.bytes_done - at) / (time.monotonic() - began) > 3 * rate


@pytest.mark.parametrize("held", [{"state": "paused"}, {"rate": 1000}])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_held_transfer_is_terminated_at_once(root, regime, kind, held):
    """200, nothing left, its generator closed, its client told."""
    async with transferring(root, regime, kind) as (server, transfer):
        job = await transfer.began()
        assert (await change(server, job, **held))[0] == 200
        began = time.monotonic()
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as response:
            assert response.status == 200
        assert time.monotonic() - began < 1
        assert server.staged() == []
        assert transfer.rows.closed or not transfer.rows.asked
        if kind == "upload":
            assert await transfer.task == 409
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await transfer.task


@pytest.mark.parametrize("kind", KINDS)
async def test_the_clocks_of_slow_clients_stand_still_in_a_pause(root, regime, kind):
    """A pause of several idle timeouts ends nothing, and neither does what was slow before it."""
    config = {"idle_timeout": 0.2, "min_rate": 1, "min_rate_window": 0.3, "watch_interval": 0.02}
    async with transferring(root, regime, kind, 64 * MIB, config=config) as (server, transfer):
        job = await transfer.began()
        await change(server, job, state="paused")
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.7)
        assert job.state is State.PAUSED
        await change(server, job, state="running")
        assert await transfer.task in (200, 201)


async def test_an_idle_client_of_a_paused_upload_is_not_held_to_account(root, regime):
    """It waits in a read when it is paused, and sends nothing: that is what was asked of it."""
    config = {"idle_timeout": 0.2, "watch_interval": 0.02}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 1000)[:-2])
        job = await upload.began(990)
        await change(server, job, state="paused")
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.8)
        assert job.state is State.PAUSED
        await change(server, job, state="running")
        upload.send(b"\r\n" + file_form("b", b""))
        upload.end()
        assert (await upload.response)[0] == 201


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_client_that_leaves_a_paused_upload_is_noticed(root, regime, how):
    """Though nothing is read from it: the job ends as disconnected, and nothing is left."""
    async with serving(root, handler_cancellation=regime, config={"watch_interval": 0.02}) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['Content-Type']}\r\n".encode())
        writer.write(b"Content-Length: 900000000\r\n\r\n" + part("a", b"x")[:-2])
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done > 0)
        await change(server, job, state="paused")
        (connection,) = [each for each in server.runner.server.connections if each._current_request is not None]
        while connection.transport.is_reading():
            writer.write(BLOCK[:65536])
            await asyncio.sleep(0.001)
        if how == "closes":
            writer.close()
        else:
            await eventually(lambda: not writer.transport.get_write_buffer_size())
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await eventually(lambda: job.state.ended, "the end of the job")
        assert (job.state, job.reason) == (State.FAILED, "disconnected")
        assert server.staged() == []


async def test_a_paused_upload_that_has_all_its_bytes_is_not_published(root, regime):
    """Paused is paused: also between the last byte and the point of no return."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def check(job, files):
        asked.set()
        await go.wait()

    async with serving(root, handler_cancellation=regime, on_received=check) as server:
        upload = asyncio.create_task(server.upload("a", b"x"))
        await asked.wait()
        (job,) = server.jobs.live()
        assert (await change(server, job, state="paused"))[0] == 200
        go.set()
        await asyncio.sleep(0)
        status, body = await change(server, job, rate=5)
        assert (status, body["state"]) == (200, "paused")
        assert server.published() == {}
        await change(server, job, state="running")
        assert (await upload).status == 201
        assert server.published() == {"a": b"x"}


@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_an_export_can_be_paused_before_its_first_byte(root, regime, kind):
    """Its client named it: it is held before anything was asked for."""
    async with serving(root, handler_cancellation=regime, exports={"generated": Rows(1)}) as server:
        (root / "stored").write_bytes(b"")
        server.jobs.listen(lambda job, by: job.pause() if job.state is State.RUNNING and not resumed else None)
        resumed = False
        export = asyncio.create_task(server.client.post(server.url + "/export", json={"filename": kind}))
        job = await server.one_live_job()
        assert job.state is State.PAUSED
        resumed = True
        await change(server, job, state="running")
        response = await export
        assert len(await response.read()) == (0 if kind == "stored" else 65536)


async def test_the_connection_serves_on_after_a_pause(root, regime):
    """Keep-alive holds: the next request of the same client comes over the same connection."""
    async with serving(root, handler_cancellation=regime) as server:
        (root / "f").write_bytes(BLOCK * 20)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
            async with client.post(server.url + "/export", json={"filename": "f"}) as response:
                job = await server.one_live_job()
                await change(server, job, state="paused")
                await change(server, job, state="running")
                assert len(await response.read()) == 20 * MIB
            port = response.connection
            async with client.post(server.url + "/export", json={"filename": "f"}) as response:
                assert len(await response.read()) == 20 * MIB
            assert port is None  # it was given back
            assert len(client.connector._conns) == 1


@pytest.mark.alone
@pytest.mark.parametrize("limit", ["owner_rate", "total_rate"])
async def test_live_jobs_share_a_rate(root, limit):
    """Of one owner, or of all: together as much as may be, and one as much as the other."""
    rate = 8 * MIB
    config = {limit: rate}
    exports = {"generated": Rows(10**6)}
    async with serving(root, config=config, authenticate=token_users, exports=exports) as server:
        (root / "stored").write_bytes(BLOCK * 100)
        transfers = [
            Transfer(server, kind, 200 * MIB, **{"X-User": "alice" if limit == "owner_rate" or number else "bob"})
            for number, kind in enumerate(KINDS)
        ]
        (root / "small").write_bytes(BLOCK)
        others = Transfer(server, "small", MIB, **as_user("bob")) if limit == "owner_rate" else None
        if others is not None:
            assert await others.task == 200  # nobody else is held up
        jobs = await eventually(lambda: [*server.jobs.live()] if len(server.jobs.live()) == 3 else None, "three jobs")
        await eventually(lambda: all(job.bytes_done for job in jobs))
        began, before = time.monotonic(), [job.bytes_done for job in jobs]
        await eventually(lambda: time.monotonic() - began > 2)
        seconds = time.monotonic() - began
        moved = [job.bytes_done - at for job, at in zip(jobs, before, strict=True)]
        assert sum(moved) / seconds == pytest.approx(rate, rel=0.1)
        for each in moved:
            assert each == pytest.approx(sum(moved) / 3, rel=0.2)
        for transfer in transfers:
            transfer.task.cancel()
        await asyncio.gather(*(transfer.task for transfer in transfers), return_exceptions=True)
        await eventually(lambda: not server.jobs.live())
        assert server.jobs.rates._by_owner == {}


MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}

REFUSED = [
    ({"json": {}}, 422, "invalid-option"),
    ({"json": {"state": "terminated"}}, 422, "invalid-option"),
    ({"json": {"state": None}}, 422, "invalid-option"),
    ({"json": {"state": ["paused"]}}, 422, "invalid-option"),
    ({"json": {"state": "paused", "rate": 0}}, 422, "invalid-option"),
    ({"json": {"rate": -1}}, 422, "invalid-option"),
    ({"json": {"rate": 1.5}}, 422, "invalid-option"),
    ({"json": {"rate": True}}, 422, "invalid-option"),
    ({"json": {"rate": "fast"}}, 422, "invalid-option"),
    ({"json": {"rate": 2**63}}, 422, "invalid-option"),
    ({"json": {"limit": 0}}, 422, "invalid-option"),
    ({"json": {"limit": "1"}}, 422, "invalid-option"),
    ({"json": {"limit": 5, "rate": 5}}, 422, "invalid-option"),
    ({"data": b'{"rate": 5}', "headers": MERGE_PATCH}, 422, "invalid-option"),
    ({"data": b'{"state": null}', "headers": MERGE_PATCH}, 422, "invalid-option"),
    ({"data": b'{"limit": 5, "names": null}', "headers": MERGE_PATCH}, 422, "invalid-option"),
    ({"data": b'"paused"', "headers": MERGE_PATCH}, 400, "malformed-request"),
    ({"json": {"state": "paused", "owner": "bob"}}, 422, "invalid-option"),
    ({"json": []}, 400, "malformed-request"),
    ({"json": None, "data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed-request"),
    ({"data": {"state": "paused"}}, 415, "unsupported-media"),
    ({"data": b" " * 70_000, "headers": {"Content-Type": "application/json"}}, 413, "too-large"),
]


@pytest.mark.parametrize(("call", "status", "code"), REFUSED)
async def test_what_cannot_be_wanted_of_a_job_is_refused_and_nothing_of_it_done(server, call, status, code):
    upload = HeldUpload(server)
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(990)
    async with server.client.patch(f"{server.url}/jobs/{job.id}", **call) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (status, code)
    assert (job.state, job.limit) == (State.RUNNING, None)


async def test_a_merge_patch_changes_the_members_that_it_names(server):
    """RFC 7396: as GET shows them, `null` takes a limit away, and an empty patch changes nothing."""
    upload = HeldUpload(server)
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(990)
    for patch, expected in (
        ('{"limit": 1000}', ("running", 1000)),
        ("{}", ("running", 1000)),
        ('{"state": "paused", "limit": 2000}', ("paused", 2000)),
        ('{"limit": null}', ("paused", None)),
        ('{"state": "running"}', ("running", None)),
    ):
        async with server.client.patch(f"{server.url}/jobs/{job.id}", data=patch, headers=MERGE_PATCH) as response:
            told = await response.json()
            assert (response.status, told["state"], told["limit"]) == (200, *expected)


@pytest.mark.parametrize("name", ["limit", "rate"])
async def test_plain_json_may_call_the_limit_a_rate(server, name):
    """As it always could; the answer calls it limit."""
    upload = HeldUpload(server)
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(990)
    status, told = (await change(server, job, **{name: 4096}))[:2]
    assert (status, told["limit"]) == (200, 4096)


async def test_only_the_owner_or_an_admin_changes_a_job(team):
    """Others get the 404 of an id that never was (G6)."""
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(990)

    async def pause(user, id_):
        async with team.client.patch(
            f"{team.url}/jobs/{id_}", json={"state": "paused"}, headers=as_user(user)
        ) as response:
            return response.status, await response.read()

    assert await pause("bob", job.id) == await pause("bob", "5b3a92ef-71ee-4215-bb19-86e2eb692532")
    assert job.state is State.RUNNING
    assert (await pause("root", job.id))[0] == 200
    assert job.state is State.PAUSED


@pytest.mark.parametrize("wanted", [{"state": "paused"}, {"state": "running"}, {"rate": 5}, {"rate": None}])
async def test_a_job_that_has_ended_cannot_be_changed(server, wanted):
    body = await (await server.upload("a", b"x")).json()
    async with server.client.patch(f"{server.url}/jobs/{body['id']}", json=wanted) as response:
        assert (response.status, (await response.json())["code"]) == (409, "already-finished")


async def test_asking_twice_is_asking_once(server):
    upload = HeldUpload(server)
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(990)
    for wanted in ("paused", "paused", "running", "running"):
        assert (await change(server, job, state=wanted))[1]["state"] == wanted
