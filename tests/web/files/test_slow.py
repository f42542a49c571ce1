"""Slow clients: who sends or takes nothing, or too little, is let go; whom we keep waiting, never."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from headgate.jobs import State
from support import FORM, HeldUpload, eventually, form, part, serving

QUICK = {"watch_interval": 0.02}


def slowly(root, regime, **config):
    return serving(root, handler_cancellation=regime, config=QUICK | config)


@asynccontextmanager
async def taking(server, filename, *, size=4096):
    """A client that asks for an export and takes nothing of it, unless the test reads: its window is small."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        body = b"filename=" + filename.encode()
        head = "POST /export HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        await loop.sock_sendall(sock, head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        yield sock


async def endless():
    while True:
        yield b"x" * 100_000


async def ended(server, job):
    await eventually(lambda: job.state.ended, "the end of the job")
    return job.state, job.reason


@pytest.mark.parametrize("where", ["in the headers of a part", "in a file", "between parts", "in the epilogue"])
async def test_an_upload_that_stops_is_let_go(root, regime, where):
    """408 idle-timeout, nothing left, wherever it stopped."""
    sent = {
        "in the headers of a part": part("a", b"")[:40],
        "in a file": part("a", b"x" * 1000),
        "between parts": part("a", b"x") + part("b", b"")[:3],
        "in the epilogue": form(part("a", b"x")) + b"more",
    }
    async with slowly(root, regime, idle_timeout=0.3) as server:
        upload = HeldUpload(server)
        upload.send(sent[where])
        job = await upload.began()
        assert await ended(server, job) == (State.FAILED, "idle-timeout")
        assert server.staged() == []
        status, body, _ = await upload.response
        assert (status, body["code"]) == (408, "idle-timeout")


@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_an_export_that_nobody_takes_is_let_go(root, regime, kind):
    """Its client sees a broken body, the job says why, and its place is free."""
    async with slowly(root, regime, idle_timeout=0.3) as server:
        await server.runner.cleanup()
    async with serving(
        root, handler_cancellation=regime, config=QUICK | {"idle_timeout": 0.3}, exports={"generated": endless}
    ) as server:
        with (root / "stored").open("wb") as file:
            file.truncate(50_000_000)
        async with taking(server, kind):
            job = await server.one_live_job()
            assert await ended(server, job) == (State.FAILED, "idle-timeout")
            await eventually(lambda: not server.runner.server.connections, "the end of the connection")


async def test_an_upload_that_trickles_is_let_go(root, regime):
    """It never idles, and is slower than may be: 408 too-slow, nothing left."""
    async with slowly(root, regime, min_rate=100_000, min_rate_window=0.3) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x"))
        job = await upload.began()
        while not job.state.ended:
            upload.send(b"x")
            await asyncio.sleep(0.01)  # the trickle
        assert (job.state, job.reason) == (State.FAILED, "too-slow")
        assert server.staged() == []
        status, body, _ = await upload.response
        assert (status, body["code"]) == (408, "too-slow")


@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_an_export_that_is_taken_in_a_trickle_is_let_go(root, regime, kind):
    config = QUICK | {"min_rate": 10_000_000, "min_rate_window": 0.5}
    async with serving(root, handler_cancellation=regime, config=config, exports={"generated": endless}) as server:
        with (root / "stored").open("wb") as file:
            file.truncate(50_000_000)
        loop = asyncio.get_running_loop()
        async with taking(server, kind) as sock:
            job = await server.one_live_job()
            while not job.state.ended:
                await loop.sock_recv(sock, 1000)
                await asyncio.sleep(0.01)  # the trickle
            assert (job.state, job.reason) == (State.FAILED, "too-slow")


@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_a_client_that_takes_little_by_little_does_not_idle(root, regime, kind):
    """What its system acknowledged counts, though our next slice leaves only now and then: a slow line is not dead."""
    config = QUICK | {"idle_timeout": 1.0, "min_rate": 0}
    async with serving(root, handler_cancellation=regime, config=config, exports={"generated": endless}) as server:
        with (root / "stored").open("wb") as file:
            file.truncate(50_000_000)
        loop = asyncio.get_running_loop()
        async with taking(server, kind) as sock:
            job = await server.one_live_job()
            await eventually(lambda: job.bytes_done, "the first slice") if kind == "generated" else None
            until = loop.time() + 2.5
            done = job.bytes_done
            while loop.time() < until:
                await loop.sock_recv(sock, 2000)
                await asyncio.sleep(0.01)  # the trickle
            assert job.state is State.RUNNING
            if kind == "generated":  # a stored file leaves in what room there is
                assert job.bytes_done - done < 2_000_000, "the slices must leave more rarely than the timeout"


async def test_an_upload_is_not_blamed_for_our_own_slowness(root, regime):
    """While the service checks it, its client neither idles nor is slow."""
    checking, checked = asyncio.Event(), asyncio.Event()

    async def on_received(job, files):
        checking.set()
        await checked.wait()

    config = QUICK | {"idle_timeout": 0.1, "min_rate": 10**9, "min_rate_window": 0.1}
    async with serving(root, handler_cancellation=regime, config=config, on_received=on_received) as server:
        upload = asyncio.create_task(server.upload("a", b"x"))
        await checking.wait()
        await asyncio.sleep(0.5)  # longer than either allows
        checked.set()
        assert (await upload).status == 201


async def test_a_generated_export_is_not_blamed_for_its_own_slowness(root, regime):
    """A query that has no rows yet is no reason to give up on its client."""

    async def rows():
        for _ in range(5):
            await asyncio.sleep(0.2)  # longer than either allows
            yield b"row\n"

    config = QUICK | {"idle_timeout": 0.1, "min_rate": 10**9, "min_rate_window": 0.1}
    async with serving(root, handler_cancellation=regime, config=config, exports={"rows": rows}) as server:
        async with server.client.post(server.url + "/export", json={"filename": "rows"}) as response:
            assert await response.read() == b"row\n" * 5


async def test_a_minimum_rate_of_none_lets_everybody_take_their_time(root, regime):
    async with slowly(root, regime, min_rate=0, min_rate_window=0.05) as server:
        upload = HeldUpload(server)
        for _ in range(3):
            upload.send(part("a", b"")[:1] if _ == 0 else b"")
            await asyncio.sleep(0.1)  # longer than the window
        upload.send(part("a", b"x")[1:])
        upload.send(form())
        upload.end()
        assert (await upload.response)[0] == 201


async def test_five_hundred_trickling_clients_do_not_disturb_a_fast_one(root):
    """The fast one completes while they are all there, and they are answered when it has."""
    async with slowly(root, False) as server:
        writers = []
        for number in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\n"
            writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + part(f"f{number}", b"x"))
            writers.append(writer)
        await eventually(lambda: len(server.jobs.live()) == 500, "500 uploads")
        done = asyncio.Event()

        async def trickle():
            while not done.is_set():
                for writer in writers:
                    writer.write(b"x")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        async with await server.upload("fast", b"x" * 20_000_000) as response:
            assert response.status == 201
        assert len(server.jobs.live()) == 500
        done.set()
        await trickling
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: not server.jobs.live() and not server.staged(), "the end of all")
