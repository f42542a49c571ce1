"""Nothing leaves a paused job: neither what an answer begins with, nor what each of its parts begins with."""

import asyncio
import json
import os

import pytest

from raw import connected, request
from support import eventually, serving

MIB = 1 << 20
#: Seconds in which what should not come would have come.
A_WHILE = 0.3


@pytest.fixture
async def server(root, regime):
    async with serving(root, handler_cancellation=regime) as server:
        yield server


def asking(call, *lines):
    if call == "GET":
        return request("GET", "/files/f", None, *lines)
    return request("POST", "/export", json.dumps({"filename": "f"}).encode(), "Content-Type: application/json", *lines)


@pytest.mark.parametrize("range_", [None, "bytes=0-99", "bytes=-5", "bytes=0-9,20-29"])
@pytest.mark.parametrize("call", ["GET", "POST"])
async def test_an_export_that_is_paused_before_its_head_says_nothing(server, root, call, range_):
    """Paused while its digest is computed, not even the status goes out; resumed, all of it does."""
    with (root / "f").open("wb") as file:
        file.truncate(64 * MIB)
    async with connected(server.url) as line:
        lines = ["Want-Repr-Digest: sha-256=5"] + ([] if range_ is None else [f"Range: {range_}"])
        await line.send(asking(call, *lines))
        job = await server.one_live_job()
        job.pause()
        assert await line.silent(2 * A_WHILE)
        assert job.bytes_done == 0
        job.resume()
        reply = await line.reply()
        assert reply.status == (200 if range_ is None else 206)
        assert reply["Repr-Digest"]
    await eventually(lambda: job.state.ended)


@pytest.mark.parametrize("call", ["GET", "POST"])
async def test_the_next_part_of_a_paused_export_does_not_begin(server, root, call, monkeypatch):
    """Paused at the end of one part of several, the head of the next stays here; resumed, every byte is right."""
    data = os.urandom(3 * MIB)
    (root / "f").write_bytes(data)
    sendfile, job = os.sendfile, None

    def pausing(out, in_, offset, count):
        nonlocal job
        sent = sendfile(out, in_, offset, count)
        if offset + sent == MIB and job is None:
            (job,) = server.jobs.live()
            job.pause()
        return sent

    monkeypatch.setattr(os, "sendfile", pausing)
    async with connected(server.url) as line:
        ranges = f"bytes=0-{MIB - 1},{MIB + 1}-{2 * MIB - 1},{2 * MIB + 1}-"
        await line.send(asking(call, f"Range: {ranges}"))
        head = await line.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206 ")
        await line.reader.readuntil(b"\r\n\r\n")  # of the first part
        assert await line.reader.readexactly(MIB) == data[:MIB]
        assert await line.silent(A_WHILE)
        job.resume()
        for start, end in ((MIB + 1, 2 * MIB), (2 * MIB + 1, 3 * MIB)):
            async with asyncio.timeout(10):
                part = await line.reader.readuntil(b"\r\n\r\n")
                assert f"bytes {start}-{end - 1}/{3 * MIB}".encode() in part
                assert await line.reader.readexactly(end - start) == data[start:end]
        assert (await line.reader.readline(), (await line.reader.readline())[-4:]) == (b"\r\n", b"--\r\n")
    await eventually(lambda: job.state.ended)


async def test_a_part_that_a_paused_job_was_to_begin_is_never_sent_of_a_terminated_one(server, root, monkeypatch):
    """Its client sees the parts that were whole, and a broken end."""
    (root / "f").write_bytes(bytes(3 * MIB))
    sendfile, job = os.sendfile, None

    def pausing(out, in_, offset, count):
        nonlocal job
        sent = sendfile(out, in_, offset, count)
        if offset + sent == MIB and job is None:
            (job,) = server.jobs.live()
            job.pause()
        return sent

    monkeypatch.setattr(os, "sendfile", pausing)
    async with connected(server.url) as line:
        await line.send(asking("GET", f"Range: bytes=0-{MIB - 1},{MIB + 1}-"))
        await line.reader.readuntil(b"\r\n\r\n")
        await line.reader.readuntil(b"\r\n\r\n")
        await line.reader.readexactly(MIB)
        await eventually(lambda: job)
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as response:
            assert response.status == 200
        assert await line.ended()
