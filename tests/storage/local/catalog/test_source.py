"""A published file that is open: what is in memory costs no thread, and what is not holds the loop up for nothing."""

import errno
import io
import os
import threading

import pytest

from headgate.storage.local.catalog import source
from support import eventually


async def test_what_is_not_in_memory_is_fetched_by_a_thread_before_the_loop_sends_it(storage, root, monkeypatch):
    """The loop does not wait for a cold file's disk (G7); what is in memory costs no thread."""
    (root / "a").write_bytes(b"x" * 3_000_000)
    loop_thread = threading.get_ident()
    fetched = []
    real = os.pread

    def pread(fd, size, offset):
        assert threading.get_ident() != loop_thread
        fetched.append((offset, size))
        return real(fd, size, offset)

    def cold(*args):
        raise BlockingIOError

    monkeypatch.setattr(os, "pread", pread)
    async with await storage.open("a") as opened:
        monkeypatch.setattr(os, "preadv", lambda *args: 1)
        await opened.ready(0, 1_000_000)
        assert fetched == []
        monkeypatch.setattr(os, "preadv", cold)
        await opened.ready(1_000_000, 1_000_000)
        assert (fetched[0][0], sum(size for _, size in fetched)) == (1_000_000, 1_000_000)
    monkeypatch.undo()


async def test_a_cold_file_is_known_to_be_cold(storage, root):
    """As the kernel tells, where it does."""
    with (root / "a").open("wb") as file:
        file.write(b"x" * 3_000_000)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    async with await storage.open("a") as opened:
        if opened._is_cached(0, 1_000_000):
            pytest.skip("this file system does not tell, or keeps everything in memory")
        await opened.ready(0, 1_000_000)
        assert opened._is_cached(0, 1_000_000)


@pytest.fixture
def closed_by(monkeypatch):
    """The threads that have closed published files."""
    threads = []
    init = source.LocalSource.__init__

    class Noting(io.FileIO):
        def close(self):
            if not self.closed:
                threads.append(threading.get_ident())
            super().close()

    def noting(self, disk, file, entry):
        init(self, disk, Noting(os.dup(file.fileno())), entry)
        file.close()

    monkeypatch.setattr(source.LocalSource, "__init__", noting)
    return threads


async def test_what_is_in_memory_is_read_and_closed_by_the_loop(storage, root, closed_by, monkeypatch):
    """It takes less time than asking a thread; what the page cache does not have is read by a thread (G7)."""
    data = os.urandom(300_000)
    (root / "a").write_bytes(data)
    here = threading.get_ident()
    readers = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *args: readers.append(threading.get_ident()) or real(*args))
    async with await storage.open("a") as opened:
        assert await opened.read(290_000, 10_000) == data[290_000:]
        if readers:
            pytest.skip("this file system does not tell what is in memory")
    assert closed_by == [here]
    async with await storage.open("a") as opened:
        assert await opened.read(0, 300_000) == data
        assert await opened.read(290_000, 20_000) == data[290_000:]
        assert len(readers) == 2
        assert here not in readers


@pytest.mark.parametrize("error", [BlockingIOError, OSError(errno.EOPNOTSUPP, "not offered")])
async def test_what_cannot_be_had_without_waiting_is_read_and_closed_by_a_thread(
    storage, root, closed_by, monkeypatch, error
):
    (root / "a").write_bytes(b"content")

    def preadv(*args):
        raise error

    monkeypatch.setattr(os, "preadv", preadv)
    async with await storage.open("a") as opened:
        assert await opened.read(0, 7) == b"content"
    await eventually(lambda: closed_by)
    assert len(closed_by) == 1
    assert threading.get_ident() not in closed_by


async def test_the_blocks_of_a_file_that_was_removed_meanwhile_are_freed_by_a_thread(storage, root, closed_by):
    (root / "a").write_bytes(b"content")
    async with await storage.open("a") as opened:
        assert await opened.read(0, 7) == b"content"
        await storage.delete("a")
    await eventually(lambda: closed_by)
    assert len(closed_by) == 1
    assert threading.get_ident() not in closed_by
