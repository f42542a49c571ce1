"""POST /export on a real socket: whole when it ends well, and never looking whole when it does not."""

import asyncio
import os
import socket
import ssl
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from aiohttp import web

import headgate
from headgate.errors import FileNotFound, HeadgateError, Terminated
from headgate.jobs import Job, State
from headgate.transfer.outbound import sendfile
from headgate.transfer.outbound import stored as send
from headgate.wire.parameters import parse_parameters
from support import as_user, eventually, serving, token_users


def put(server, name, data):
    (server.root / name).write_bytes(data)


def tls_contexts():
    """For a server called localhost, and for a client that trusts it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


async def export(server, filename, **kwargs):
    return await server.client.post(server.url + "/export", json={"filename": filename}, **kwargs)


async def without_sendfile(job, transport, source, start, end, waited):
    """As where it cannot be used."""
    return start


class Generated:
    """A generated export that yields what the test tells it to, and remembers how it ended."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue()
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self):
        self.began.set()
        try:
            while (chunk := await self.queue.get()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self.ended.set()


@pytest.mark.parametrize("size", [0, 1, 100_000, sendfile.BYTES_PER_CALL, 3 * sendfile.BYTES_PER_ROUND + 17])
@pytest.mark.parametrize("encoding", ["json", "urlencoded"])
async def test_a_stored_file_comes_whole_with_its_length(server, size, encoding):
    data = os.urandom(size)
    put(server, "a.bin", data)
    kwargs = {"json": {"filename": "a.bin"}} if encoding == "json" else {"data": {"filename": "a.bin"}}
    async with server.client.post(server.url + "/export", **kwargs) as response:
        assert response.status == 200
        assert response.content_length == size
        assert await response.read() == data
    (job,) = server.infos()
    assert (job.state, job.bytes_done, job.bytes_total) == (State.COMPLETED, size, size)
    assert response.headers["Job-Id"] == str(job.id)
    assert response.headers["Link"] == f'</jobs/{job.id}>; rel="status"'


async def test_a_file_is_saved_never_shown(server):
    """An uploaded page cannot run as one of ours."""
    name = "日本\"<script>'.html"
    put(server, name, b"<script>")
    async with await export(server, name) as response:
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"].startswith("sandbox")
        assert parse_parameters(response.headers["Content-Disposition"]) == ("attachment", {"filename": name})


BAD = {
    "no such file": ({"json": {"filename": "nothing"}}, 404, "no-such-file"),
    "a name that none may have": ({"json": {"filename": "../etc/passwd"}}, 422, "invalid-name"),
    "a staged file": ({"json": {"filename": ".staging/x"}}, 422, "invalid-name"),
    "no name": ({"json": {}}, 400, "malformed-request"),
    "no text": ({"json": {"filename": 3}}, 400, "malformed-request"),
    "no object": ({"json": ["filename"]}, 400, "malformed-request"),
    "no json": ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed-request"),
    "deep json": ({"data": b"[" * 60_000, "headers": {"Content-Type": "application/json"}}, 400, "malformed-request"),
    "no utf-8": ({"data": b'"\xff"', "headers": {"Content-Type": "application/json"}}, 400, "malformed-request"),
    "no form": (
        {"data": b"filename=%ff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        400,
        "malformed-request",
    ),
    "another type": ({"data": b"a.bin", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media"),
    "too much": ({"data": b"x" * 70_000, "headers": {"Content-Type": "application/json"}}, 413, "too-large"),
    "an id that is none": ({"json": {"filename": "a"}, "headers": {"Job-Id": "x"}}, 400, "malformed-request"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_request_gets_a_clear_answer(server, caplog, name):
    kwargs, status, code = BAD[name]
    async with server.client.post(server.url + "/export", **kwargs) as response:
        assert response.status == status
        assert (await response.json(content_type=None))["code"] == code
    assert "Traceback" not in caplog.text
    assert server.infos() == []


async def test_a_generated_export_comes_chunked_as_it_is_made(root, regime):
    """No length; the first chunk is there before the second exists; its own finally has run when it has ended."""
    rows = Generated()
    async with serving(root, handler_cancellation=regime, exports={"rows.csv": rows.__call__}) as server:
        rows.queue.put_nowait(b"a,b\n")
        async with await export(server, "rows.csv") as response:
            assert response.headers["Transfer-Encoding"] == "chunked"
            assert response.content_length is None
            assert await response.content.readany() == b"a,b\n"
            for chunk in (b"1,2\n", b"", b"x" * 200_000, None):
                rows.queue.put_nowait(chunk)
            assert await response.content.read() == b"1,2\n" + b"x" * 200_000
        (job,) = server.infos()
        assert (job.state, job.bytes_done, job.bytes_total) == (State.COMPLETED, 200_008, None)
        assert rows.ended.is_set()


async def test_what_was_yielded_before_a_pause_goes_out_after_it_though_the_generator_waits(root, regime):
    """It needs no further chunk to be pushed out."""
    rows, paused = asyncio.Queue(), asyncio.Event()

    async def two_and_wait():
        yield b"first "
        await rows.get()
        server.jobs.live()[0].pause()
        paused.set()
        yield b"second"
        await rows.get()

    async with serving(root, handler_cancellation=regime, exports={"rows": two_and_wait}) as server:
        async with await export(server, "rows") as response:
            assert await response.content.readany() == b"first "
            rows.put_nowait(None)
            await paused.wait()
            job = server.jobs.live()[0]
            assert job.bytes_done == 6
            job.resume()
            assert await response.content.readexactly(6) == b"second"
            rows.put_nowait(None)
            assert await response.read() == b""


async def test_an_empty_first_chunk_sends_the_headers(root):
    """A generator may have its client told at once that something will come."""
    go_on = asyncio.Event()

    async def slow():
        yield b""
        await go_on.wait()
        yield b"rows"

    async with serving(root, exports={"rows": slow}) as server, await export(server, "rows") as response:
        assert response.status == 200
        go_on.set()
        assert await response.read() == b"rows"


async def test_an_export_without_rows_is_an_empty_file(root):
    async def nothing():
        return
        yield

    async with serving(root, exports={"empty.csv": nothing}) as server, await export(server, "empty.csv") as response:
        assert response.status == 200
        assert await response.read() == b""


async def test_an_export_function_may_take_the_request(root):
    async def who(request):
        yield f"{request[headgate.USER].name} {request[headgate.JOB].names[0]}".encode()

    async with serving(root, authenticate=token_users, exports={"who": who}) as server:
        async with await export(server, "who", headers=as_user("alice")) as response:
            assert await response.text() == "alice who"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(ValueError("secret"), 500, "export-failed"), (FileNotFound("No rows."), 404, "no-such-file")],
)
async def test_an_export_that_fails_before_its_first_chunk_is_answered_with_the_error(root, error, status, code):
    """Its own error if it is one of ours; nothing internal otherwise."""
    rows = Generated()
    rows.queue.put_nowait(error)
    async with serving(root, exports={"rows": rows.__call__}) as server, await export(server, "rows") as response:
        body = await response.json(content_type=None)
        assert (response.status, body["code"]) == (status, code)
        assert "secret" not in str(body)
        assert ("No rows." in str(body)) == isinstance(error, HeadgateError)


@pytest.mark.parametrize("what", [ValueError("secret"), "text instead of bytes"])
async def test_an_export_that_fails_half_way_looks_truncated(root, regime, what, caplog):
    """The body never ends cleanly (G5), and the job says why."""
    rows = Generated()
    async with serving(root, handler_cancellation=regime, exports={"rows": rows.__call__}) as server:
        rows.queue.put_nowait(b"first")
        async with await export(server, "rows") as response:
            assert await response.content.readany() == b"first"
            rows.queue.put_nowait(what)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()
        await eventually(lambda: not server.jobs.live(), "the end of the job")
        (job,) = server.infos()
        assert (job.state, job.reason) == (State.FAILED, "export-failed")
        assert rows.ended.is_set()


async def test_a_generated_export_ends_when_its_client_goes(root, regime):
    """Even while it has nothing to say, and whether or not the host cancels handlers; its finally runs."""
    rows = Generated()
    config = {"watch_interval": 0.01}
    async with serving(root, handler_cancellation=regime, config=config, exports={"rows": rows.__call__}) as server:
        rows.queue.put_nowait(b"first")
        response = await export(server, "rows")
        await response.content.readany()
        response.close()
        await asyncio.wait_for(rows.ended.wait(), 20)
        await eventually(lambda: not server.jobs.live(), "the end of the job")
        (job,) = server.infos()
        assert (job.state, job.reason) == (State.FAILED, "disconnected")


async def test_a_stored_export_ends_when_its_client_goes(root, regime, caplog):
    caplog.set_level("INFO")
    async with serving(root, handler_cancellation=regime) as server:
        with (root / "big").open("wb") as file:
            file.truncate(200_000_000)
        response = await export(server, "big")
        await response.content.read(1000)
        (job,) = server.jobs.live()
        response.close()
        await eventually(lambda: job.state.ended)
        assert (job.state, job.reason) == (State.FAILED, "disconnected")
    assert [record.levelname for record in caplog.records if record.name.startswith(("headgate", "asyncio"))] == [
        "INFO"
    ]


@pytest.mark.parametrize("by_sendfile", [True, False])
@pytest.mark.parametrize("left", [1000, 200_000_000 - 10])
async def test_a_file_that_shrinks_while_it_is_sent_looks_truncated(server, monkeypatch, by_sendfile, left):
    """Wherever it is cut, and however it is sent."""
    if not by_sendfile:
        monkeypatch.setattr(send, "sendfile", without_sendfile)
    with (server.root / "a").open("wb") as file:
        file.truncate(200_000_000)
    async with await export(server, "a") as response:
        await response.content.read(1000)
        os.truncate(server.root / "a", left)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    (job,) = server.infos()
    assert (job.state, job.reason) == (State.FAILED, "storage-failed")


@pytest.mark.parametrize("by_sendfile", [True, False])
async def test_a_job_stopped_at_the_last_moment_has_not_given_the_whole_file_out(server, monkeypatch, by_sendfile):
    """A client that has every byte has it from a job that can no longer be terminated (G2)."""
    real = Job.finish

    def finish(job):
        job.stop(Terminated("alice"))
        real(job)

    monkeypatch.setattr(Job, "finish", finish)
    if not by_sendfile:
        monkeypatch.setattr(send, "sendfile", without_sendfile)
    put(server, "a", b"x" * 100_000)
    async with await export(server, "a") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_generator_that_never_waits_does_not_keep_the_loop(root):
    """Others have their turn between its chunks (G7)."""
    many = 100_000  # bytes, one by one: far more than a breath of work, far less than fills a socket
    turned = asyncio.Event()
    chunks = 0

    async def greedy():
        nonlocal chunks
        asyncio.get_running_loop().call_soon(turned.set)
        while not turned.is_set() and chunks < many:
            chunks += 1
            yield b"x"

    async with serving(root, exports={"rows": greedy}) as server, await export(server, "rows") as response:
        await response.read()
    assert chunks < many


async def test_a_cancellation_of_the_generators_own_is_its_failure(root, caplog):
    """The generator awaited a task that was cancelled; the export itself was not, so its client gets an answer."""

    async def rows():
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        inner.cancel()
        await inner
        yield b"never"

    async with serving(root, exports={"rows": rows}) as server, await export(server, "rows") as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (500, "export-failed")
    assert caplog.text.count("Traceback") == 1


async def test_over_tls_a_client_that_goes_is_a_disconnect(root, regime, caplog):
    """While the last bytes wait for it to read."""
    context, trusting = tls_contexts()
    async with serving(root, handler_cancellation=regime, ssl_context=context) as server:
        with (root / "a").open("wb") as file:
            file.truncate(30_000_000)
        _, writer = await asyncio.open_connection(
            "localhost", server.port, ssl=trusting, limit=1000, family=socket.AF_INET
        )
        body = b'{"filename": "a"}'
        head = f"POST /export HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        job = await server.one_live_job()
        moved = -1
        while moved != job.bytes_done:  # until nothing more fits
            moved = job.bytes_done
            await asyncio.wait([asyncio.create_task(job.wait_ended())], timeout=0.1)
        writer.transport.abort()
        await eventually(lambda: job.state.ended)
        assert (job.state, job.reason) == (State.FAILED, "disconnected")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_a_connection_is_used_again_after_an_export(root, kind):
    """A completed export leaves the connection as it should be."""

    async def rows():
        yield b"x" * 100_000

    async with serving(root, exports={"generated": rows}) as server:
        put(server, "stored", b"x" * 100_000)
        reused = []
        trace = aiohttp.TraceConfig()

        async def reuse(*args):
            reused.append(True)

        trace.on_connection_reuseconn.append(reuse)
        async with aiohttp.ClientSession(trace_configs=[trace]) as client:
            for _ in range(3):
                async with client.post(server.url + "/export", json={"filename": kind}) as response:
                    assert len(await response.read()) == 100_000
        assert len(reused) == 2


@pytest.mark.parametrize("outcome", ["whole", "broken"])
async def test_to_an_http_1_0_client_a_truncated_export_is_a_reset(root, outcome):
    """Without chunks only the end of the connection ends the body; a plain close would be a lie (G5)."""
    rows = Generated()
    async with serving(root, exports={"rows": rows.__call__}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = b'{"filename": "rows"}'
        head = f"POST /export HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        rows.queue.put_nowait(b"first")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200" in head
        assert b"chunked" not in head
        assert await reader.readexactly(5) == b"first"
        rows.queue.put_nowait(None if outcome == "whole" else ValueError("half-way"))
        if outcome == "whole":
            assert await reader.read() == b""
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


@asynccontextmanager
async def narrow(root, *, tls=False, exports=None):
    """A server and a client with small socket buffers; yields the server, its transports, a reader and a writer."""
    transports = []

    @web.middleware
    async def narrowing(request, handler):
        transports.append(request.transport)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return await handler(request)

    context, trusting = tls_contexts() if tls else (None, None)
    async with serving(root, host_middleware=narrowing, ssl_context=context, exports=exports) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
        name = "localhost" if tls else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=trusting, server_hostname=name, limit=1000)
        yield server, transports, reader, writer
        writer.transport.abort()


def ask(server, writer, name):
    body = b'{"filename": "%b"}' % name.encode()
    head = f"POST {server.path}/export HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("kind", ["stored", "rows"])
async def test_a_job_finishes_only_when_nothing_is_left_in_our_buffers(root, monkeypatch, tls, kind):
    """Past the point of no return the job does not wait for a slow client (G2); the transport's limits are as they
    were."""
    left, real = [], Job.finish

    def finish(job):
        left.append((transports[0].get_write_buffer_size(), transports[0].get_write_buffer_limits()[1] > 1))
        real(job)

    async def rows():
        for _ in range(10):
            yield b"x" * 30_000

    monkeypatch.setattr(Job, "finish", finish)
    monkeypatch.setattr(send, "sendfile", without_sendfile)
    async with narrow(root, tls=tls, exports={"rows": rows}) as (server, transports, reader, writer):
        (root / "stored").write_bytes(b"x" * 300_000)
        ask(server, writer, kind)
        while not left:
            assert await reader.read(1000)
    assert left == [(0, True)]


@pytest.mark.parametrize(("tls", "size"), [(False, 40_000), (True, 300_000)])
async def test_a_connection_that_ends_in_the_last_flush_fails_the_job(root, tls, size):
    """What was not sent is not said to have been. The buffers below do not take both chunks, and those above do not
    refuse them; over TLS the first fills the transport below, and the second waits."""

    async def rows():
        yield b"x" * (size // 2)
        yield b"x" * (size // 2)

    async with narrow(root, tls=tls, exports={"rows": rows}) as (server, transports, _, writer):
        ask(server, writer, "rows")
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done == size)
        assert job.state is State.RUNNING
        transports[0].abort()
        await job.wait_ended()
        assert (job.state, job.reason) == (State.FAILED, "disconnected")


async def test_a_request_that_does_not_arrive_is_told(root):
    """408, after the idle timeout."""
    async with serving(root, config={"idle_timeout": 0.05}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST /export HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b'Content-Length: 20\r\n\r\n{"file')
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(40, 404), (41, 413)])
async def test_a_request_may_have_its_limit_and_not_a_byte_more(root, chunked, size, status):
    async def chunks(body):
        yield body

    body = b'{"filename": "nothing"}'.ljust(size)
    headers = {"Content-Type": "application/json"}
    async with serving(root, config={"max_request_size": 40}) as server:
        data = chunks(body) if chunked else body
        async with server.client.post(server.url + "/export", data=data, headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 100),
        ({"X-User": None}, 401),
        ({"Content-Length": "1001"}, 413),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Expect": "miracles"}, 417),
    ],
)
async def test_expect_is_answered_once_and_only_when_the_headers_are_in_order(root, changed, status):
    """A refusal comes instead of 100; after 100 the next line is the answer."""
    body = b'{"filename": "a"}'
    headers = {
        "X-User": "alice",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    } | changed
    async with serving(root, authenticate=token_users, config={"max_request_size": 1000}) as server:
        put(server, "a", b"hello")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
        writer.write(f"POST /export HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        assert (await reader.readline()).split()[1] == b"%d" % status
        if status == 100:
            assert await reader.readline() == b"\r\n"
            writer.write(body)
            assert (await reader.readline()).split()[1] == b"200"
        writer.close()
