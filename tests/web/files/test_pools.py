"""What is done in threads is done in threads of its own: what is slow holds up nothing else."""

import asyncio
import hashlib
import io
import os
import threading
import time
from base64 import b64encode
from contextlib import asynccontextmanager, suppress

import pytest

from support import eventually, file_form, serving

#: Seconds in which a thread that has nothing else to do answers, on a machine that has.
SOON = 1.0

#: More than a default executor has threads, on any machine that tests run on.
MANY = 40

BIG = b"x" * 2_000_000


preadv = os.preadv


class SlowReads:
    """Reads of files that the test lets go on when it likes."""

    def __init__(self, monkeypatch):
        self.begun = 0
        self._go = threading.Event()
        for name in ("pread", "preadv"):
            monkeypatch.setattr(os, name, self._slow(getattr(os, name)))

    def _slow(self, real):
        def read(fd, *rest):
            if "/root/zipped" in os.readlink(f"/proc/self/fd/{fd}"):
                if real is preadv and rest[2:] == (os.RWF_NOWAIT,):
                    raise BlockingIOError
                self.begun += 1
                self._go.wait(30)
            return real(fd, *rest)

        return read

    def let_go(self):
        self._go.set()


@asynccontextmanager
async def zips_under_way(root, monkeypatch, count=MANY):
    """A server with so many zips whose disk does not answer."""
    reads = SlowReads(monkeypatch)
    async with serving(root, config={"storage_threads": 2 * count}) as server:
        (root / "zipped").write_bytes(BIG)

        async def zipped():
            with suppress(OSError):
                body = {"filenames": ["zipped"]}
                async with server.client.post(server.url + "/export", json=body) as response:
                    return await response.read()

        tasks = [asyncio.create_task(zipped()) for _ in range(count)]
        try:
            await eventually(lambda: len(server.jobs.live()) == count, "the zips")
            await eventually(lambda: reads.begun, "a slow read")
            yield server
        finally:
            reads.let_go()
            await asyncio.gather(*tasks, return_exceptions=True)


async def in_the_hosts_threads():
    """The longest of some calls that a host makes in its own threads, by ``asyncio.to_thread`` or another way there."""
    longest = 0.0
    for _ in range(3):
        began = time.perf_counter()
        await asyncio.wait_for(asyncio.to_thread(lambda: None), 10)
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1), 10)
        longest = max(longest, time.perf_counter() - began)
    return longest


def digests_of(data, header="Repr-Digest"):
    return {header: f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"}


@pytest.mark.timeout(60)
async def test_zips_of_a_slow_disk_leave_the_hosts_threads_alone(root, monkeypatch):
    """However many there are: asyncio's default executor is the host's."""
    async with zips_under_way(root, monkeypatch):
        assert await in_the_hosts_threads() < SOON


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", ["a form", "a body"])
async def test_zips_of_a_slow_disk_leave_digests_alone(root, monkeypatch, way):
    """An upload whose digest is computed on its way does not wait for them."""
    async with zips_under_way(root, monkeypatch) as server:
        began = time.perf_counter()
        async with asyncio.timeout(10):
            if way == "a form":
                headers = digests_of(file_form("digested", BIG), "Content-Digest")
                response = await server.upload("digested", BIG, headers=headers)
            else:
                response = await server.client.put(
                    server.url + "/files/digested", data=io.BytesIO(BIG), headers=digests_of(BIG)
                )
            async with response:
                assert response.status == 201
        assert time.perf_counter() - began < 2 * SOON


class SlowDigests:
    """Digests of large blocks that go on when the test likes."""

    def __init__(self, monkeypatch):
        self.begun = self.on_the_loop = 0
        self._go = threading.Event()
        real, slow = hashlib.new, self

        class Slow:
            def __init__(self, hash_):
                self._hash = hash_

            def update(self, data):
                if threading.current_thread() is threading.main_thread():
                    slow.on_the_loop += 1
                else:
                    slow.begun += 1
                    slow._go.wait(30)
                self._hash.update(data)

            def __getattr__(self, name):
                return getattr(self._hash, name)

        monkeypatch.setattr(hashlib, "new", lambda *args, **options: Slow(real(*args, **options)))

    def let_go(self):
        self._go.set()


@asynccontextmanager
async def digests_under_way(root, monkeypatch, count=MANY):
    """A server with so many exports whose digests take long."""
    digests = SlowDigests(monkeypatch)
    async with serving(root) as server:
        (root / "digested").write_bytes(BIG)

        async def get():
            headers = {"Want-Repr-Digest": "sha-256=5"}
            async with server.client.get(server.url + "/files/digested", headers=headers) as response:
                return await response.read()

        tasks = [asyncio.create_task(get()) for _ in range(count)]
        try:
            await eventually(lambda: digests.begun or digests.on_the_loop, "a digest")
            assert not digests.on_the_loop, "the loop stands still meanwhile"
            await eventually(lambda: len(server.jobs.live()) == count, "the exports")
            yield server
        finally:
            digests.let_go()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.timeout(60)
async def test_digests_leave_the_hosts_threads_alone(root, monkeypatch):
    """However many are computed at once."""
    async with digests_under_way(root, monkeypatch):
        assert await in_the_hosts_threads() < SOON


@pytest.mark.timeout(60)
async def test_digests_leave_zips_and_small_uploads_alone(root, monkeypatch):
    """Who asked for none does not wait for those of others."""
    async with digests_under_way(root, monkeypatch) as server:
        (root / "plain").write_bytes(b"y" * 1000)
        began = time.perf_counter()
        async with asyncio.timeout(10):
            async with server.client.post(server.url + "/export", json={"filenames": ["plain"]}) as response:
                assert response.status == 200
                assert await response.read()
            async with await server.upload("small", b"x") as response:
                assert response.status == 201
        assert time.perf_counter() - began < 2 * SOON


@pytest.mark.timeout(60)
async def test_a_host_whose_threads_are_all_busy_holds_nothing_up(root):
    """Nor is headgate held up by what the host does in its threads."""
    go = threading.Event()
    async with serving(root) as server:
        (root / "a").write_bytes(BIG)
        busy = [asyncio.create_task(asyncio.to_thread(go.wait, 30)) for _ in range(MANY)]
        try:
            async with asyncio.timeout(10):
                async with server.client.post(server.url + "/export", json={"filenames": ["a"]}) as response:
                    assert len(await response.read()) > len(BIG)
                async with server.client.put(
                    server.url + "/files/digested", data=io.BytesIO(BIG), headers=digests_of(BIG)
                ) as response:
                    assert response.status == 201
        finally:
            go.set()
            await asyncio.gather(*busy)
