"""Large bodies, received past aiohttp: everything holds that holds for others. What is large is small here."""

import asyncio
import base64
import errno
import hashlib
import io
import logging
import os
import random
import threading
import time
import weakref
from contextlib import suppress
from unittest import mock

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from faults.clients import connected, head
from headgate.jobs import State
from headgate.lowlevel import page_memory
from headgate.lowlevel.page_memory import PageBuffer, aligned
from headgate.storage.local.disk.congestion import DirectWriteCongestion
from headgate.storage.local.incoming import staged_file as staged
from headgate.transfer import digester
from headgate.transfer.inbound import direct
from support import END, FORM, eventually, file_form, part, serving
from tus import BYTES, named
from tus import call as tus

SIZE = 3_000_000


_write_pages = staged.LocalStagedFile._write_pages


def leisurely(file, pages):
    """On a slow disk: memory that was reused too early would store wrong bytes."""
    taken.append(len(pages))
    time.sleep(0.001)
    return _write_pages(file, pages)


#: Bytes of each write that was the disk's own.
taken = []

#: A connection that was received from directly lingers, and looks so often whether its client is gone.
LOOK = {"watch_interval": 0.02}


@pytest.fixture(autouse=True, params=["as it comes", "in blocks"])
def large(request, monkeypatch):
    """What is large, and the reader of whatever is received so, once something is."""
    readers = []
    monkeypatch.setattr(direct, "FULL_RECEIVES", 1000)
    if request.param == "in blocks":
        sizes = {
            "FULL_RECEIVES": 1,
            "FAST_READ_BYTES": 1,
            "MIN_SHARE_BYTES": 8192,
            "BLOCK_BYTES": 16 * 4096,
            "BLOCK_SECONDS": 0.002,
        }
        for name, value in sizes.items():
            monkeypatch.setattr(direct, name, value)
        monkeypatch.setattr(staged, "DIRECT_WRITE_BYTES", 2 * 4096)
        monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", leisurely)
        monkeypatch.setattr(
            DirectWriteCongestion, "never", lambda self: None
        )  # it is tried, whatever the file system can do
    init = direct.DirectReader.__init__

    def noting(self, *args):
        readers.append(self)
        init(self, *args)

    monkeypatch.setattr(direct, "DIRECT_FROM_BYTES", 1_000_000)
    monkeypatch.setattr(direct.DirectReader, "__init__", noting)
    return readers


def whole(way, data):
    """A request that has `data` as a file called "a", in two pieces, before and in which the connection may be cut."""
    if way == "form":
        body = file_form("a", data)
        return head("POST /upload", Content_Length=len(body), Content_Type=FORM["Content-Type"]), body
    return head("PUT /files/a", Content_Length=len(data)), data


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", ["form", "put"])
async def test_every_byte_arrives_however_the_body_is_cut(root, regime, large, way, seed):
    """The pieces in which a body comes do not show in the file, and the answer is the same as for any upload."""
    taken.clear()
    dice = random.Random(seed)
    data = dice.randbytes(SIZE)
    async with serving(root, handler_cancellation=regime, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole(way, data)
        await client.send(beginning)
        sent = 0
        while sent < len(body):
            size = dice.choice((1, 1000, 70_000, 600_000))
            await client.send(body[sent : sent + size])
            sent += size
        assert await client.status() == 201
        assert server.published() == {"a": data}
        assert server.staged() == []
        assert len(large) == 1
        assert bool(taken) == (direct.FULL_RECEIVES == 1)


@pytest.mark.parametrize("way", ["form", "put"])
async def test_the_connection_serves_the_next_requests(root, regime, large, way):
    """Those that wait behind the body are answered, and a body after it is received so again."""
    async with serving(root, handler_cancellation=regime, config=LOOK) as server, connected(server.port) as client:
        data = random.Random(1).randbytes(SIZE)
        for number in range(2):
            beginning, body = whole(way, data)
            await client.send(beginning + body + head("GET /healthz") + head(f"GET /healthz?{number}"))
            answer = b""
            while answer.count(b'"alive"}') < 2:
                answer += (more := await client.receive())
                assert more, answer
            assert answer.startswith(b"HTTP/1.1 20" if way == "put" else b"HTTP/1.1 201")
            assert b"Connection: close" not in answer
            assert answer.count(b"HTTP/1.1") == 3
            assert server.published() == {"a": data}
            (root / "a").unlink()
        assert len(large) == 2


async def test_after_a_very_large_body_the_connection_ends_with_the_answer(root, regime, monkeypatch):
    """To aiohttp the body has not ended: the client is told, and a request behind it is not answered."""
    monkeypatch.setattr(direct, "KEPT_CONNECTION_BYTES", 0)
    config = LOOK | {"linger_timeout": 0.1}
    async with serving(root, handler_cancellation=regime, config=config) as server, connected(server.port) as client:
        beginning, body = whole("put", bytes(SIZE))
        await client.send(beginning + body + head("GET /healthz"))
        answer = b""
        while data := await client.receive():
            answer += data
        assert answer.startswith(b"HTTP/1.1 201")
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_small_body_leaves_the_connection_for_the_next(root, large):
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        for name in ("a", "b"):
            await client.send(head(f"PUT /files/{name}", Content_Length=5) + b"small")
            assert await client.status() == 201
        assert not large


@pytest.mark.parametrize("way", ["form", "put"])
@pytest.mark.parametrize("hang_up", ["close", "reset"])
async def test_a_client_that_goes_is_one_line_and_leaves_nothing(root, regime, caplog, way, hang_up):
    caplog.set_level(logging.INFO, "headgate")
    async with serving(root, handler_cancellation=regime, config=LOOK) as server:
        async with connected(server.port) as client:
            beginning, body = whole(way, bytes(SIZE))
            await client.send(beginning + body[:2_000_000])
            job = await server.one_live_job()
            await eventually(lambda: job.bytes_done > 1_000_000)
            if hang_up == "reset":
                client.reset()
        await eventually(lambda: job.state is State.FAILED)
        assert job.reason == "disconnected"
        assert server.staged() == []
        assert server.published() == {}
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize("way", ["form", "put"])
async def test_terminate_ends_it_at_once_and_its_client_is_told(root, regime, way):
    async with serving(root, handler_cancellation=regime, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole(way, bytes(SIZE))
        await client.send(beginning + body[:2_000_000])
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done > 1_000_000)
        async with server.client.delete(server.url + "/upload/terminate") as response:
            assert response.status == 200
        assert server.staged() == []
        assert await client.status() == 409


async def test_nothing_is_received_while_it_is_paused(root, regime):
    """The kernel's buffers fill, and its sender has to wait; nothing of it is read ahead."""
    data = os.urandom(40_000_000)
    async with serving(root, handler_cancellation=regime, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole("put", data)
        await client.send(beginning + body[:100_000])
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done == 100_000)
        job.pause()
        rest = asyncio.create_task(client.send(body[100_000:]))
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(rest), 0.3)
        assert not rest.done()
        assert job.bytes_done == 100_000
        job.resume()
        await rest
        assert await client.status() == 201
        assert hashlib.sha256((root / "a").read_bytes()).digest() == hashlib.sha256(data).digest()


async def test_others_have_their_turn_while_a_fast_client_sends(root):
    """Its bytes are always there; the loop goes round all the same."""
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole("put", bytes(20_000_000))
        sending = asyncio.create_task(client.send(beginning + body))
        job = await server.one_live_job()
        seen = set()
        while not job.state.ended:
            seen.add(job.bytes_done)
            await asyncio.sleep(0)
        await sending
        assert len(seen) > 10


async def test_what_came_before_a_client_went_is_kept_of_a_resumable_upload(root, regime):
    data = os.urandom(SIZE)
    async with serving(root, handler_cancellation=regime, config=LOOK) as server:
        created = await tus(server, "POST", "/tus", named("a") | {"Upload-Length": str(SIZE)})
        url = created["Location"]
        target = "/tus" + url.rpartition("/tus")[2]
        async with connected(server.port) as client:
            fields = {"Tus_Resumable": "1.0.0", "Upload_Offset": 0, "Content_Type": BYTES["Content-Type"]}
            await client.send(head(f"PATCH {target}", Content_Length=SIZE, **fields) + data[:2_000_000])
            job = await server.one_live_job()
            await eventually(lambda: job.bytes_done > 0)
        answer = await tus(server, "HEAD", url)
        assert answer.status == 200, answer
        offset = int(answer["Upload-Offset"])
        assert offset == 2_000_000
        rest = BYTES | {"Upload-Offset": str(offset)}
        assert (await tus(server, "PATCH", url, rest, data=data[offset:])).status == 204
        assert server.published() == {"a": data}


@pytest.mark.parametrize("large", ["in blocks"], indirect=True)
async def test_of_what_the_disk_could_not_take_a_resumable_upload_tells_nothing(root, monkeypatch, large):
    """The write that fails is not the last that was begun: what came after it would lie behind a gap."""
    data, writes = os.urandom(SIZE), []

    def full(file, pages):
        writes.append(pages)
        if len(writes) == 5:
            raise OSError(errno.ENOSPC, "")
        return leisurely(file, pages)

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", full)
    async with serving(root, config=LOOK) as server:
        created = await tus(server, "POST", "/tus", named("a") | {"Upload-Length": str(SIZE)})
        url, offset = created["Location"], 0
        for status in (507, 204):
            patch = BYTES | {"Upload-Offset": str(offset)}
            assert (await tus(server, "PATCH", url, patch, data=io.BytesIO(data[offset:]))).status == status
            if status == 507:
                offset = int((await tus(server, "HEAD", url))["Upload-Offset"])
                assert 0 < offset < SIZE
                assert (root / ".staging" / f"{url.rpartition('/')[2]}.kept").read_bytes() == data[:offset]
        assert server.published() == {"a": data}


@pytest.mark.parametrize("way", ["form", "put"])
@pytest.mark.parametrize("large", ["in blocks"], indirect=True)
async def test_the_digest_of_a_block_is_not_computed_in_the_loop(root, monkeypatch, large, way):
    """And it is right."""
    data, threads = os.urandom(SIZE), set()
    real = digester.Digester.update

    def update(self, piece):
        if len(piece) > digester.INLINE_BYTES:
            threads.add(threading.get_ident())
        real(self, piece)

    monkeypatch.setattr(digester, "INLINE_BYTES", 8192)
    monkeypatch.setattr(digester.Digester, "update", update)
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole(way, data)
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        await client.send(beginning[:-2] + f"Content-Digest: sha-256=:{digest}:\r\n\r\n".encode() + body)
        assert await client.status() == 201
        assert server.published() == {"a": data}
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("large", ["in blocks"], indirect=True)
async def test_of_a_client_that_was_fast_no_block_is_kept(root, monkeypatch, large):
    """Neither while it sends nothing nor, where others want them, while it is paused."""
    monkeypatch.setattr(direct, "MAX_FAST_READERS", 1)
    monkeypatch.setattr(direct, "BLOCK_SECONDS", 0.05)
    monkeypatch.setattr(page_memory, "SPARE_BLOCKS", 0)
    monkeypatch.setattr(page_memory, "_spare", [])
    blocks = []
    monkeypatch.setattr(
        page_memory, "aligned", lambda size: blocks.append(weakref.ref(memory := aligned(size))) or memory
    )
    async with serving(root, config=LOOK) as server:
        async with connected(server.port) as client:
            beginning, body = whole("put", bytes(SIZE))
            await client.send(beginning + body[:2_000_000])
            job = await server.one_live_job()
            await eventually(lambda: job.bytes_done == 2_000_000)
            assert len(blocks) >= 2
            await eventually(lambda: not any(block() for block in blocks))
        await eventually(lambda: job.state.ended)
        async with connected(server.port) as client, connected(server.port) as other:
            await client.send(beginning + body[:2_000_000])
            job = await server.one_live_job()
            await eventually(lambda: direct._fast)
            (paused,) = direct._fast
            job.pause()
            await eventually(lambda: paused._is_away)
            taken.clear()
            beginning, body = whole("form", bytes(SIZE))
            await other.send(beginning + body)
            assert await other.status() == 201
            assert taken
            assert not paused._buffer.has_blocks


@pytest.mark.parametrize("way", ["form", "put"])
async def test_without_a_descriptor_the_body_comes_by_way_of_aiohttp(root, monkeypatch, way, large):
    """A fast client's body is received whole though no second descriptor of its connection can be had."""

    def dup(self):
        tries.append(self)
        raise OSError(24, "Too many open files")

    tries, data = [], random.Random(1).randbytes(SIZE)
    monkeypatch.setattr("asyncio.trsock.TransportSocket.dup", dup)
    monkeypatch.setattr(direct, "FAST_READ_BYTES", 1)
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole(way, data)
        await client.send(beginning + body + head("GET /healthz"))
        answer = b""
        while b'"alive"}' not in answer:
            answer += (more := await client.receive())
            assert more, answer
        assert answer.startswith(b"HTTP/1.1 201")
        assert server.published() == {"a": data}
        assert tries
        assert len(large) == 1


@pytest.mark.parametrize("large", ["as it comes"], indirect=True)
async def test_a_slow_client_takes_no_second_descriptor(root, large):
    """As long as a large body comes little by little, aiohttp receives it; what comes fast after that is taken over."""
    data = random.Random(1).randbytes(SIZE)
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        beginning, body = whole("put", data)
        await client.send(beginning)
        job = await server.one_live_job()
        for start in range(0, 100_000, 10_000):
            await client.send(body[start : start + 10_000])
            await eventually(lambda: job.bytes_done == start + 10_000)  # noqa: B023 - called in this turn of the loop
            assert not large[0]._past
        await client.send(body[100_000:])
        assert await client.status() == 201
        assert large[0]._past
        assert server.published() == {"a": data}


async def test_a_form_with_many_large_files_is_taken_apart(root):
    files = {f"file {number}": os.urandom(700_000) for number in range(4)}
    async with serving(root, config=LOOK) as server, connected(server.port) as client:
        body = b"".join(part(name, data) for name, data in files.items()) + END
        await client.send(head("POST /upload", Content_Length=len(body), Content_Type=FORM["Content-Type"]) + body)
        assert await client.status() == 201
        assert server.published() == files


async def test_what_follows_a_whole_body_is_not_the_rest_of_it():
    """aiohttp takes the next request for more of the body; these bytes must not be stored."""
    protocol = BaseProtocol(asyncio.get_running_loop(), mock.Mock())
    stream = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    reader = direct.DirectReader(make_mocked_request("PUT", "/", payload=stream), 5, PageBuffer())
    stream.feed_data(b"whole")
    assert await reader.read() == b"whole"
    stream.feed_data(b"GET / HTTP/1.1")
    assert reader.drain_buffered() == b""
    assert await reader.read() == b""
