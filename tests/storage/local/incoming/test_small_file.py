"""Small uploads: kept in memory until they are whole, created when they are published, many of them at once."""

import asyncio
import errno
import os
import threading
import time
from uuid import uuid4

import pytest

from headgate.config import OnConflict
from headgate.errors import NameTaken, PreconditionFailed, StorageFailed, StorageFull
from headgate.storage import ExpectedSize, LocalStorage, Precondition
from headgate.storage.local import local_storage as local
from headgate.storage.local.incoming import small_file
from headgate.storage.local.incoming import stage as stage_module
from headgate.storage.local.incoming.stage import SmallStage
from headgate.storage.local.publishing import group_commit as commits
from support import eventually

REJECT, RENAME, REPLACE = OnConflict.REJECT, OnConflict.RENAME, OnConflict.REPLACE


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
async def storage(root):
    storage = LocalStorage(root)
    await storage.start()
    if not storage._disk.can_link_unnamed:
        pytest.skip("this file system makes no file without a name")
    yield storage
    await storage.close()


async def put(storage, name, data, rule=REJECT, **kwargs):
    async with storage.stage(uuid4(), "alice", ExpectedSize(len(data), len(data))) as stage:
        assert isinstance(stage, SmallStage)
        file = await stage.create(name, rule)
        await file.write(data)
        return await stage.publish(rule, **kwargs)


def files(root):
    return {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}


def staged(root):
    return os.listdir(root / ".staging")


@pytest.fixture
def together(monkeypatch):
    """All publications that begin while it is held, but for the first, are in one batch."""
    batches = Batches()
    real = commits.publish_together

    def publish(disk, publications):
        if batches.held:
            assert batches.may_go_on.wait(20)
        batches.sizes.append(len(publications))
        real(disk, publications)

    monkeypatch.setattr(commits, "publish_together", publish)
    return batches


class Batches:
    def __init__(self):
        self.held, self.may_go_on, self.sizes = False, threading.Event(), []

    async def begin(self, storage, *puts):
        """Tasks of them, all of which wait, after one that keeps the disk busy."""
        self.held = True
        self.sizes.clear()
        tasks = [asyncio.create_task(each) for each in (put(storage, "first", b"1"), *puts)]
        await eventually(lambda: len(storage._commits._waiting) == len(puts))
        return tasks[1:]

    def go_on(self):
        self.held = False
        self.may_go_on.set()


async def test_a_small_upload_has_no_name_before_it_is_whole(storage, root):
    """Nothing is on the disk, and if the process ends now nothing is left."""
    async with storage.stage(uuid4(), "alice", ExpectedSize(100, 100)) as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x" * 60)
        await file.write(memoryview(b"y" * 40))
        assert (staged(root), files(root), file.size) == ([], {}, 100)
    assert (staged(root), files(root)) == ([], {})


@pytest.mark.parametrize("size", [small_file.SMALL_FILE_BYTES, small_file.SMALL_FILE_BYTES + 1])
async def test_what_is_small_is_what_was_promised(storage, root, size):
    async with storage.stage(uuid4(), "alice", ExpectedSize(0, size)) as stage:
        await stage.create("a", REJECT)
        assert len(staged(root)) == (size > small_file.SMALL_FILE_BYTES)


async def test_many_are_published_at_once_and_each_has_its_own_outcome(storage, root, together):
    """A name that is taken, a condition that does not hold and a name that is made up do not show in the others."""
    await put(storage, "taken", b"old")
    tasks = await together.begin(
        storage,
        put(storage, "a", b"a"),
        put(storage, "taken", b"new"),
        put(storage, "taken", b"new", RENAME),
        put(storage, "b", b"b", REPLACE, precondition=Precondition(exists=True)),
        put(storage, "c", b"c", REPLACE),
        put(storage, "a", b"another"),
    )
    together.go_on()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert together.sizes == [1, 6]
    kinds = [type(each) if isinstance(each, Exception) else each[0].entry.name for each in outcomes]
    assert kinds == ["a", NameTaken, "taken (1)", PreconditionFailed, "c", NameTaken]
    assert files(root) == {"first": b"1", "a": b"a", "taken": b"old", "taken (1)": b"new", "c": b"c"}
    assert staged(root) == []


async def test_what_is_put_over_another_keeps_it_until_all_is_done(storage, root, monkeypatch):
    """It has a staged name meanwhile, and a lock, so that no sweeper takes what is kept for dead."""
    await put(storage, "a", b"old")
    seen, real = [], os.fsync

    def fsync(fd):
        seen.append(sorted(name.partition(".")[2].partition(".")[2] for name in staged(root)))
        return real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    (done,) = await put(storage, "a", b"new", REPLACE)
    assert done.replaced
    number = seen[-1][0]
    assert seen[-1] == [number, f"{number}.old"]
    assert (files(root), staged(root)) == ({"a": b"new"}, [])


@pytest.mark.parametrize("rule", [REJECT, REPLACE])
async def test_where_names_cannot_be_made_durable_none_of_a_batch_is_there(storage, root, together, monkeypatch, rule):
    """All of them are told so, and what they replaced is back."""
    await put(storage, "a", b"old")
    real, directory = os.fsync, os.stat(root).st_ino

    def fsync(fd):
        if os.fstat(fd).st_ino == directory and together.sizes[-1] == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd)

    other = "a" if rule is REPLACE else "c"
    tasks = await together.begin(storage, put(storage, "b", b"b", rule), put(storage, other, b"c", rule))
    monkeypatch.setattr(os, "fsync", fsync)
    together.go_on()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    monkeypatch.undo()
    assert [type(each) for each in outcomes] == [StorageFailed, StorageFailed]
    assert (files(root), staged(root)) == ({"a": b"old", "first": b"1"}, [])


@pytest.mark.parametrize(("threads", "at_once"), [(16, 5), (1, 1)])
async def test_a_slow_disk_has_many_at_once(storage, root, together, monkeypatch, threads, at_once):
    """Where one has to wait, the others do not wait for it; and one thread alone waits for no other."""
    storage = LocalStorage(root, threads=threads)  # beside the one that knows what the file system can do
    await storage.start()
    real, lock, now, most = os.fsync, threading.Lock(), [0], [0]

    def fsync(fd):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.005)
        real(fd)
        with lock:
            now[0] -= 1

    tasks = await together.begin(storage, *(put(storage, f"file {number}", b"x") for number in range(20)))
    monkeypatch.setattr(os, "fsync", fsync)
    together.go_on()
    await asyncio.gather(*tasks)
    assert most[0] >= at_once
    assert len(files(root)) == 21
    await storage.close()


@pytest.mark.parametrize("size", [10, small_file.SMALL_FILE_BYTES + 1])
async def test_what_was_not_synced_before_is_when_it_is_published(storage, root, monkeypatch, size):
    """Its bytes before its name, its name before the answer; and none of it twice."""
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
    for ahead in (False, True):
        synced.clear()
        async with storage.stage(uuid4(), "alice", ExpectedSize(size, size)) as stage:
            file = await stage.create(f"{ahead}", REJECT)
            await file.write(b"x" * size)
            if ahead:
                await stage.sync()
                assert len(synced) == 1
            (done,) = await stage.publish(REJECT)
        assert synced == [os.stat(root / done.entry.name).st_ino, os.stat(root).st_ino]


async def test_what_is_held_is_promised_room_that_is_still_free(storage):
    """A small file in memory keeps its quota, and takes room on the disk only when it is published."""
    ledger = storage.ledger
    async with storage.stage(uuid4(), "alice", ExpectedSize(100, 100)) as stage:
        ledger.measured(1000, time.monotonic())
        assert ledger.available("bob") == 900
        file = await stage.create("a", REJECT)
        await file.write(b"x" * 60)
        ledger.measured(1000, time.monotonic())
        assert ledger.available("bob") == 900
        await stage.reserve(ExpectedSize(40, 40))
        assert ledger.available("bob") == 900
        await file.write(b"x" * 40)
        await stage.publish(REJECT)
    assert ledger.available("bob") == 900


async def test_of_refused_replacements_nothing_is_seen_and_what_was_there_stays(storage, root, together):
    """Of each one name could be had and the other not; what one found was never another's that did not stay."""
    (root / "directory").mkdir()
    await put(storage, "a", b"old")
    tasks = await together.begin(
        storage,
        *(put_two(storage, ("a", "directory"), b"%d" % number, REPLACE) for number in range(3)),
        *(put_two(storage, (f"new {number}", "directory"), b"%d" % number, REPLACE) for number in range(3)),
        put_two(storage, ("b", "a"), b"x", REJECT),
        put(storage, "b", b"b"),
    )
    together.go_on()
    *refused, done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in refused] == [NameTaken] * 7
    assert done[0].entry.name == "b"
    assert (files(root), staged(root)) == ({"first": b"1", "a": b"old", "b": b"b"}, [])


async def put_two(storage, names, data, rule):
    async with storage.stage(uuid4(), "alice", ExpectedSize(2 * len(data), 2 * len(data))) as stage:
        for name in names:
            await (await stage.create(name, rule)).write(data)
        return await stage.publish(rule)


async def test_what_waits_for_the_roots_lock_holds_up_nobody_else(storage, root):
    """Another process replaces something, slowly."""
    await put(storage, "a", b"old")
    with storage._disk.root_lock():
        waits = asyncio.create_task(put(storage, "a", b"new", REPLACE))
        await eventually(lambda: not storage._commits._busy and storage._commits._pending)
        for number in range(3):
            await asyncio.wait_for(put(storage, f"{number}", b"x", REPLACE), 20)
        assert not waits.done()
    await waits
    assert files(root)["a"] == b"new"


async def test_a_publication_that_waits_when_the_storage_is_closed_is_whole(storage, root, together):
    """It had begun, so it ends; and nothing is put there in its name that was not sent."""
    await put(storage, "a", b"old")
    (task,) = await together.begin(storage, put(storage, "a", b"new", REPLACE))
    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    together.go_on()
    await closing
    assert (await task)[0].replaced
    assert files(root) == {"first": b"1", "a": b"new"}
    await storage.start()


async def test_a_sync_of_what_is_held_can_be_left(storage, root, monkeypatch):
    """Whoever is terminated while a service is about to look at it does not wait for the disk."""
    may_go_on, real = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (may_go_on.wait(20), real(fd)))
    before = len(os.listdir("/proc/self/fd"))
    async with storage.stage(uuid4(), "alice", ExpectedSize(1, 1)) as stage:
        await (await stage.create("a", REJECT)).write(b"x")
        sync = asyncio.create_task(stage.sync())
        await eventually(lambda: len(os.listdir("/proc/self/fd")) > before)
        sync.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sync
    may_go_on.set()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_what_is_spread_is_done_once_whatever_becomes_of_the_threads(storage, monkeypatch):
    """A thread that cannot be started has been given its work all the same."""
    disk, done, real = storage._disk, [], storage._disk._threads.submit

    def submit(*args):
        call = real(*args)
        if len(done) >= 0 and next(numbers) == 2:
            raise RuntimeError("can't start new thread")
        return call

    numbers = iter(range(100))
    monkeypatch.setattr(disk._threads, "submit", submit)
    await disk.run(lambda: disk.spread(done.append, range(50)))
    assert sorted(done) == list(range(50))


async def test_a_batch_that_breaks_publishes_nothing_and_says_so(storage, root, monkeypatch):
    """No upload is answered with success because an error was not reported."""

    def broken(disk, publications):
        raise ValueError("broken")

    monkeypatch.setattr(commits, "publish_together", broken)
    with pytest.raises(ValueError, match="broken"):
        await put(storage, "a", b"a")
    monkeypatch.undo()
    await put(storage, "a", b"a")
    assert files(root) == {"a": b"a"}


async def test_a_file_system_that_cannot_holds_nothing(root, monkeypatch):
    """Then it is staged like any other."""
    monkeypatch.setattr(local, "can_link_unnamed", lambda *_: False)
    storage = LocalStorage(root)
    await storage.start()
    async with storage.stage(uuid4(), "alice", ExpectedSize(10, 10)) as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x" * 10)
        assert len(staged(root)) == 1
        await stage.sync()
        await stage.publish(REJECT)
    assert files(root) == {"a": b"x" * 10}
    await storage.close()


async def test_whoever_still_waits_when_the_storage_is_closed_is_told(storage, root):
    async with storage.stage(uuid4(), "alice", ExpectedSize(1, 1)) as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x")
        await storage.close()
        with pytest.raises(StorageFailed):
            await stage.publish(REJECT)
    assert files(root) == {}
    await storage.start()


KIB = 1024


@pytest.mark.parametrize(
    "chunk", [1, 1000, 40_000, 100_000, small_file.OWN_CHUNK_BYTES, small_file.OWN_CHUNK_BYTES - 1]
)
async def test_a_small_file_has_its_bytes_however_they_came(storage, root, chunk):
    """In chunks of any size, in memory that is used again for the next one."""
    data = os.urandom(100_000)
    async with storage.stage(uuid4(), "alice", ExpectedSize(len(data), len(data))) as stage:
        file = await stage.create("a", REJECT)
        for start in range(0, len(data), chunk):
            piece = bytearray(data[start : start + chunk])
            await file.write(memoryview(piece) if start % 3 else bytes(piece))
            piece[:] = bytes(len(piece))
        await stage.publish(REJECT)
    assert files(root) == {"a": data}


@pytest.mark.parametrize("ends", ["published", "synced", "discarded"])
async def test_the_file_of_a_slow_client_frees_its_memory(storage, root, monkeypatch, ends):
    """It is on the disk from then on, without a name; what comes afterwards follows, and its promise counts once."""
    monkeypatch.setattr(stage_module, "MEMORY_SECONDS", 0)
    free, data = storage._memory._free, os.urandom(100 * KIB)
    storage.ledger.measured(1_000_000, time.monotonic())
    async with storage.stage(uuid4(), "alice", ExpectedSize(len(data), len(data))) as stage:
        assert storage._memory._free == free - len(data)
        file = await stage.create("a", REJECT)
        await file.write(data[: 60 * KIB])
        await eventually(lambda: file._spilling is not None and file._spilling.done())
        assert (storage._memory._free, file._chunks, staged(root)) == (free, [], [])
        assert (stage._account.written, stage._account.buffered) == (60 * KIB, 0)
        await file.write(data[60 * KIB :])
        if ends == "synced":
            await stage.sync()
        if ends != "discarded":
            await stage.publish(REJECT)
    assert files(root) == ({} if ends == "discarded" else {"a": data})
    assert staged(root) == []
    assert storage._memory._free == free


async def test_a_file_that_begins_after_the_spill_is_on_the_disk_at_once(storage, root, monkeypatch):
    """The second file of a slow client's form takes no memory either."""
    monkeypatch.setattr(stage_module, "MEMORY_SECONDS", 0)
    async with storage.stage(uuid4(), "alice", ExpectedSize(0, 100 * KIB)) as stage:
        await eventually(lambda: stage._spilled)
        for name in "ab":
            file = await stage.create(name, REJECT)
            await file.write(name.encode() * 1000)
            assert not file._chunks
        await stage.publish(REJECT)
    assert files(root) == {"a": b"a" * 1000, "b": b"b" * 1000}


async def test_where_the_memory_is_used_up_a_file_is_staged(storage, root):
    """So that many uploads at once take no more of it; those that a connection's buffers hold anyway do not count."""
    storage._memory.take(storage._memory._free - 50 * KIB)
    for size, is_small in ((50 * KIB, True), (50 * KIB + 1, False), (32 * KIB, True)):
        async with storage.stage(uuid4(), "alice", ExpectedSize(size, size)) as stage:
            assert isinstance(stage, SmallStage) == is_small
            await (await stage.create(f"{size}", REJECT)).write(b"x" * size)
            await stage.sync()
            await stage.publish(REJECT)
        assert (root / f"{size}").stat().st_size == size


async def test_a_spill_that_fails_fails_the_upload(storage, root, monkeypatch):
    """The next write raises it; nothing is published, and no descriptor stays open."""
    monkeypatch.setattr(stage_module, "MEMORY_SECONDS", 0)
    before = len(os.listdir("/proc/self/fd"))

    def full(fd, chunks):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    async with storage.stage(uuid4(), "alice", ExpectedSize(100 * KIB, 100 * KIB)) as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x" * 1000)
        await eventually(lambda: file._spilling is not None)
        with pytest.raises(StorageFull):
            await file.write(b"x" * 1000)
    monkeypatch.undo()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert (files(root), staged(root)) == ({}, [])


async def test_a_stage_that_ends_while_its_file_is_spilled_leaves_nothing(storage, root, monkeypatch):
    """The thread has the descriptor until it is done with it; then it is closed."""
    monkeypatch.setattr(stage_module, "MEMORY_SECONDS", 0)
    before, may_go_on, real = len(os.listdir("/proc/self/fd")), threading.Event(), os.writev
    monkeypatch.setattr(os, "writev", lambda fd, chunks: (may_go_on.wait(20), real(fd, chunks))[1])
    async with storage.stage(uuid4(), "alice", ExpectedSize(100 * KIB, 100 * KIB)) as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x" * 1000)
        await eventually(lambda: len(os.listdir("/proc/self/fd")) > before)
    may_go_on.set()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert (files(root), staged(root)) == ({}, [])


@pytest.mark.parametrize("size", [10, small_file.SMALL_FILE_BYTES + 1])
async def test_new_files_of_all_sizes_are_published_together(storage, root, together, size):
    """As many as come while the disk is busy share a turn and a sync of the directory."""

    async def upload(name):
        async with storage.stage(uuid4(), "alice", ExpectedSize(size, size)) as stage:
            await (await stage.create(name, REJECT)).write(b"x" * size)
            await stage.sync(required=False)
            return await stage.publish(REJECT)

    tasks = await together.begin(storage, *(upload(name) for name in "abc"))
    together.go_on()
    await asyncio.gather(*tasks)
    assert together.sizes == [1, 3]
    assert {name: len(data) for name, data in files(root).items()} == {"first": 1, "a": size, "b": size, "c": size}


async def test_a_batch_has_so_many_bytes(storage, root, together, monkeypatch):
    """A small file does not wait for gigabytes of others."""
    monkeypatch.setattr(commits, "MAX_BATCH_BYTES", 150)
    tasks = await together.begin(storage, *(put(storage, f"file {number}", b"x" * 100) for number in range(5)))
    together.go_on()
    await asyncio.gather(*tasks)
    assert together.sizes == [1, 2, 2, 1]


@pytest.mark.parametrize("chunk", [1000, 40_000, 256 * 1024])
async def test_a_small_file_is_written_a_piece_at_a_time(storage, root, monkeypatch, chunk):
    """No write is larger than its limit, however the bytes came, and the file is whole also where the disk takes a part
    of a write."""
    data = os.urandom(small_file.SMALL_FILE_BYTES)
    writes, real = [], os.writev

    def writev(fd, pieces):
        writes.append(sum(map(len, pieces)))
        return real(fd, [bytes(pieces[0])[:-1], *pieces[1:]]) if len(pieces) == 1 else real(fd, pieces[:1])

    monkeypatch.setattr(os, "writev", writev)
    async with storage.stage(uuid4(), "alice", ExpectedSize(len(data), len(data))) as stage:
        file = await stage.create("a", REJECT)
        for start in range(0, len(data), chunk):
            await file.write(data[start : start + chunk])
        await stage.publish(REJECT)
    assert (root / "a").read_bytes() == data
    assert len(writes) >= 2
    assert max(writes) <= small_file.MAX_WRITE_BYTES
    assert sum(writes) == len(data)
