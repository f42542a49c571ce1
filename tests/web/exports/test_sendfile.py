"""Stored files given out by the kernel: not a byte more than the gate let pass, and whole however it went."""

import asyncio
import errno
import os
import random
import socket
from contextlib import suppress

import pytest

from faults.clients import head
from headgate.jobs import Actor, State
from headgate.transfer.outbound import sendfile
from support import eventually, serving

SIZE = 9_000_000


async def ask(server, buffer=None):
    """A connection on which the file "a" has been asked for, by a client that takes no more than its buffer does."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1000)
    writer.write(head("GET /files/a"))
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def all_of(reader, size=None):
    """All that comes, or `size` bytes of it, and then there is no more for a while."""
    got = b""
    while size is None or len(got) < size:
        data = await reader.read(65536)
        if not data:
            break
        got += data
    return got


@pytest.fixture
def data(root):
    data = random.Random(7).randbytes(SIZE)
    root.mkdir(exist_ok=True)
    (root / "a").write_bytes(data)
    return data


@pytest.mark.parametrize("rate", [None, 50_000_000])
async def test_not_a_byte_more_than_was_counted_leaves_after_a_pause(root, regime, data, rate):
    """Whatever the socket had no room for when the job was paused stays here; what was counted is what arrives."""
    async with serving(root, handler_cancellation=regime) as server:
        reader, writer = await ask(server, buffer=4096)
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done)
        job.gate.set_rate(rate)
        for _ in range(3):
            job.pause()
            moved = job.bytes_done
            got = await all_of(reader, moved - (SIZE - len(data)))
            assert got == data[: len(got)]
            data = data[len(got) :]
            assert job.bytes_done == moved
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            job.resume()
            await eventually(lambda moved=moved: job.bytes_done > moved)
        job.gate.set_rate(None)
        assert await all_of(reader, len(data)) == data
        await job.wait_ended()
        assert (job.state, job.bytes_done) == (State.COMPLETED, SIZE)
        writer.close()


@pytest.mark.parametrize("before", ["paused", "wide"])
async def test_a_rate_holds_at_once_whatever_was_granted_before(root, regime, data, before):
    """No more than one call's worth goes out under the old one."""
    async with serving(root, handler_cancellation=regime) as server:
        reader, writer = await ask(server, buffer=4096)
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done)
        if before == "paused":
            job.pause()
            await all_of(reader, job.bytes_done)
            job.resume()
        else:
            job.gate.set_rate(10**9)
            await all_of(reader, job.bytes_done)
        await eventually(lambda: job.bytes_done > 500_000)
        job.gate.set_rate(1000)
        moved = job.bytes_done
        with suppress(TimeoutError):
            await asyncio.wait_for(all_of(reader), 0.5)
        assert job.bytes_done - moved <= 2 * sendfile.BYTES_PER_CALL
        writer.close()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("times", [0, 3])
async def test_where_the_kernel_cannot_or_cannot_any_more_the_rest_is_read(server, data, monkeypatch, code, times):
    """A file system without sendfile, and one that has it for a while."""
    left, real = [times], os.sendfile

    def failing(*args):
        if not left[0]:
            raise OSError(code, os.strerror(code))
        left[0] -= 1
        return real(*args)

    monkeypatch.setattr(os, "sendfile", failing)
    async with server.client.get(server.url + "/files/a") as response:
        assert await response.read() == data
    (job,) = server.infos()
    assert (job.state, job.bytes_done) == (State.COMPLETED, SIZE)


async def test_without_a_descriptor_for_it_the_file_comes_all_the_same(server, data, monkeypatch):
    def full(sock):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio.trsock.TransportSocket, "dup", full)
    async with server.client.get(server.url + "/files/a") as response:
        assert await response.read() == data


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
async def test_a_connection_that_breaks_is_a_disconnect(server, data, monkeypatch, error, caplog):
    """As the kernel tells it first."""

    def broken(*args):
        raise error

    monkeypatch.setattr(os, "sendfile", broken)
    reader, writer = await ask(server)
    assert await all_of(reader) == b""
    await eventually(lambda: not server.jobs.live(), "the end of the job")
    (job,) = server.infos()
    assert (job.state, job.reason) == (State.FAILED, "disconnected")
    assert "Traceback" not in caplog.text
    writer.close()


async def test_a_terminated_export_leaves_no_descriptor_and_nobody_waiting(root, regime, data):
    """It is cancelled while its client takes nothing."""
    async with serving(root, handler_cancellation=regime) as server:
        reader, writer = await ask(server, buffer=4096)
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done)
        before = len(os.listdir("/proc/self/fd"))
        await server.jobs.terminate(job, by=Actor("somebody"))
        # Its socket, the socket's second descriptor and the file are gone.
        await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before - 3)
        with suppress(ConnectionError):
            assert len(await all_of(reader)) < SIZE
        writer.close()


async def test_many_at_once_have_their_turns(root, data, monkeypatch):
    """Nobody's file goes out in one piece before another's begins."""
    turns, real = [], os.sendfile

    def noting(out, *args):
        turns.append(out)
        return real(out, *args)

    monkeypatch.setattr(os, "sendfile", noting)
    async with serving(root) as server:
        connections = [await ask(server) for _ in range(4)]
        got = await asyncio.gather(*(all_of(reader, SIZE) for reader, _ in connections))
        assert got == [data] * 4
        for _, writer in connections:
            writer.close()
    longest = max(sum(1 for _ in run) for run in runs(turns))
    assert longest * sendfile.BYTES_PER_CALL < SIZE


def runs(items):
    run = []
    for item in items:
        if run and item != run[-1]:
            yield run
            run = []
        run.append(item)
    yield run
