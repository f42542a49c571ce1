"""What the disk takes by itself, past the page cache: the same bytes, whatever is in the way."""

import asyncio
import errno
import fcntl
import gc
import hashlib
import os
import random
import threading
from uuid import uuid4

import pytest

from headgate.config import OnConflict
from headgate.errors import StorageFailed, StorageFull
from headgate.lowlevel.page_memory import PAGE, aligned
from headgate.storage import LocalStorage
from headgate.storage.local.disk.congestion import DirectWriteCongestion
from headgate.storage.local.incoming import staged_file as staged
from support import eventually

SIZE = 16 * PAGE


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """What goes past the cache is small, and tried though the file system cannot do it."""
    monkeypatch.setattr(staged, "DIRECT_WRITE_BYTES", 2 * PAGE)
    monkeypatch.setattr(DirectWriteCongestion, "never", lambda self: None)


_never = DirectWriteCongestion.never


@pytest.fixture
def handed_over(monkeypatch):
    """The bytes of each write that was the disk's own."""
    sizes, real = [], staged.LocalStagedFile._write_pages

    def noting(self, pages):
        done = real(self, pages)
        sizes.append(done)
        return done

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", noting)
    return sizes


@pytest.fixture
def may_go_on(monkeypatch):
    """The disk takes nothing before this is set."""
    event, real = threading.Event(), staged.LocalStagedFile._write_pages

    def waiting(self, pages):
        assert event.wait(20)
        return real(self, pages)

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", waiting)
    return event


@pytest.fixture
async def storage(tmp_path):
    storage = LocalStorage(tmp_path / "root")
    await storage.start()
    yield storage
    await storage.close()


def block(data, at=0):
    """`data` as it will lie in its pages, written at `at`."""
    start = at % PAGE
    memory = aligned(start + len(data))[start:]
    memory[:] = data
    return memory


async def published(storage, root, stage):
    await stage.sync()
    await stage.publish(OnConflict.REJECT)
    return (root / "a").read_bytes()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


async def test_a_large_write_is_the_disks_own_and_not_in_the_cache(storage, root, handed_over):
    data = os.urandom(SIZE)
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        await file.write(block(data))
        await file.flush()
        if not handed_over[0]:
            pytest.skip("this file system takes nothing by itself")
        assert handed_over == [SIZE]
        assert await published(storage, root, stage) == data


@pytest.mark.parametrize("seed", range(10))
async def test_pieces_of_any_size_come_together_whole(storage, root, handed_over, seed):
    """Large and small ones, of memory and of bytes, that fit and do not, end where they will."""
    dice = random.Random(seed)
    whole = b""
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        for _ in range(20):
            data = dice.randbytes(dice.choice((1, 100, PAGE, 2 * PAGE, 3 * PAGE + 7, SIZE)))
            at = dice.choice((file.size, file.size, 0))
            await file.write(dice.choice((block(data, at), block(data, at), data)))
            whole += data
            assert file.size == len(whole)
        assert await published(storage, root, stage) == whole
    assert handed_over


async def test_memory_is_in_use_until_the_next_write_or_flush(storage, root, may_go_on):
    """However long the disk takes: the next write waits for it, and so does a flush, a sync and a read."""
    data = os.urandom(SIZE)
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        await asyncio.wait_for(file.write(block(data)), 20)
        for what in (file.flush(), stage.sync(), file.write(b"more")):
            waits = asyncio.ensure_future(what)
            done, _ = await asyncio.wait([waits], timeout=0.02)
            assert not done
            waits.cancel()
            await asyncio.wait([waits])
        may_go_on.set()
        await file.write(b"more")
        assert await published(storage, root, stage) == data + b"more"


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageFailed)])
@pytest.mark.parametrize("how", ["write", "flush", "sync"])
async def test_what_goes_wrong_meanwhile_is_raised_by_the_next(storage, root, monkeypatch, code, error, how):
    def failing(self, pages):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", failing)
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        await file.write(block(bytes(SIZE)))
        with pytest.raises(error):
            await {"write": lambda: file.write(b"x"), "flush": file.flush, "sync": stage.sync}[how]()
    assert [each.name for each in root.iterdir()] == [".staging"]


async def test_a_file_system_that_cannot_is_asked_once(storage, root, monkeypatch):
    real = os.write

    def picky(fd, data):
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data)

    data = os.urandom(SIZE)
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        monkeypatch.setattr(os, "write", picky)
        monkeypatch.setattr(DirectWriteCongestion, "never", _never)
        await file.write(block(data))
        await file.flush()
        assert not storage._disk.direct_writes.is_fast()
        await file.write(block(data))
        assert await published(storage, root, stage) == 2 * data


async def test_a_disk_that_takes_a_part_gets_the_rest(storage, root, monkeypatch):
    real = os.write

    def half(fd, data):
        return real(fd, data[: max(1, len(data) // 2 // 512 * 512)])

    data = os.urandom(SIZE + 100)
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        monkeypatch.setattr(os, "write", half)
        await file.write(block(data))
        assert await published(storage, root, stage) == data


async def test_a_stage_that_is_left_meanwhile_leaves_nothing(storage, root, may_go_on):
    """Its name is gone at once; its descriptor when the disk has let go."""
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        await file.write(block(bytes(SIZE)))
    assert list((root / ".staging").iterdir()) == []
    may_go_on.set()


async def test_after_a_failure_there_is_a_way_on(storage, monkeypatch, caplog):
    """What was settled can be cut, written to and synced; and a failure of an abandoned write is not logged."""
    real, failures = staged.LocalStagedFile._write_pages, [1, 1]

    def failing(self, pages):
        if failures:
            failures.pop()
            raise OSError(errno.ENOSPC, "")
        return real(self, pages)

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", failing)
    partial, data = await storage.create_partial(uuid4(), "alice", "{}"), os.urandom(SIZE)
    async with partial:
        await partial.write(b"x" * PAGE)
        await partial.write(block(data, PAGE))
        with pytest.raises(StorageFull):
            await partial.write(b"y")
        with pytest.raises(StorageFull):
            await partial.sync()
        await partial.wait_for_writes()
        assert partial.size == PAGE
        await partial.clear()
        await partial.write(b"x" * 10)
        await partial.write(data)
        await partial.sync()
        assert await partial.digests({"sha256"}) == {"sha256": hashlib.sha256(b"x" * 10 + data).digest()}
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", OnConflict.REJECT)
        await file.write(block(data))
        await eventually(lambda: not failures)
    await partial.discard()
    gc.collect()
    assert caplog.text == ""


async def test_a_partial_file_has_what_the_disk_has_taken(storage, monkeypatch):
    """A partial file that is left, or settled, tells no more than is in it, though the last write failed."""
    real = staged.LocalStagedFile._write_pages
    fail = False

    def failing(self, pages):
        if fail:
            raise OSError(errno.EIO, "")
        return real(self, pages)

    monkeypatch.setattr(staged.LocalStagedFile, "_write_pages", failing)
    partial = await storage.create_partial(uuid4(), "alice", "{}")
    data = os.urandom(SIZE)
    async with partial:
        await partial.write(block(data))
        await partial.wait_for_writes()
        assert partial.size == SIZE
        fail = True
        await partial.write(block(data, SIZE))
        await partial.wait_for_writes()
        assert partial.size == SIZE
    assert partial.size == SIZE
    async with partial:
        assert await partial.digests({"sha256"}) == {"sha256": hashlib.sha256(data).digest()}
    await partial.discard()
