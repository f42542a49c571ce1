"""What only a local directory can get wrong: order of syncs, threads, symlinks, descriptors, full disks."""

import asyncio
import errno
import os
import stat
import threading
from unittest import mock
from uuid import uuid4

import pytest

from headgate.config import OnConflict
from headgate.errors import FileNotFound, NameTaken, StorageFailed, StorageFull, StorageUnusable
from headgate.storage import LocalStorage
from headgate.storage.local.incoming import staged_file as staged
from headgate.storage.local.publishing import publication
from support import eventually

REJECT, REPLACE = OnConflict.REJECT, OnConflict.REPLACE


async def put(storage, name, data, on_conflict=REJECT):
    async with storage.stage(uuid4(), "alice") as stage:
        await (await stage.create(name, on_conflict)).write(data)
        await stage.sync()
        await stage.publish(on_conflict)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("on_conflict", OnConflict)
async def test_a_name_appears_after_its_bytes_are_durable_and_is_made_durable_itself(storage, monkeypatch, on_conflict):
    """fsync of the file, then the name, then fsync of the directory (G3)."""
    calls = []

    def spy(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            if name == "fsync":
                calls.append("fsync dir" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else "fsync file")
            else:
                calls.append("name")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in ("fsync", "link", "rename"):
        spy(name)
    await put(storage, "a", b"x", on_conflict)
    assert calls[0] == "fsync file"
    assert set(calls[1:-1]) == {"name"}
    assert calls[-1] == "fsync dir"


async def test_staged_files_lie_in_the_staging_directory_under_the_jobs_id(storage, root):
    job = uuid4()
    async with storage.stage(job, "alice") as stage:
        await stage.create("a", REJECT)
        await stage.create("b", REJECT)
        names = sorted(os.listdir(root / ".staging"))
        assert [name.split(".")[0] for name in names] == [str(job), str(job)]
    assert os.listdir(root / ".staging") == []


async def test_replacing_leaves_nothing_staged(storage, root):
    for data in (b"1", b"2"):
        await put(storage, "a", data, REPLACE)
    assert os.listdir(root / ".staging") == []
    assert (root / "a").read_bytes() == b"2"


@pytest.mark.parametrize("replaced", [False, True])
async def test_replacing_several_is_undone_when_one_fails(storage, root, monkeypatch, replaced):
    """What was there before is there again, and nothing else."""
    if replaced:
        await put(storage, "a", b"old")
    (root / "b").mkdir()
    async with storage.stage(uuid4(), "alice") as stage:
        for name in ("a", "b"):
            await (await stage.create(name, REPLACE)).write(b"new")
        await stage.sync()
        with pytest.raises(NameTaken):
            await stage.publish(REPLACE)
    assert (root / "a").exists() == replaced
    assert not replaced or (root / "a").read_bytes() == b"old"
    assert os.listdir(root / ".staging") == []


@pytest.mark.parametrize("on_conflict", OnConflict)
async def test_what_others_published_meanwhile_is_never_taken_back(storage, root, monkeypatch, on_conflict):
    """An upload of two files fails at the second; meanwhile another upload replaced the first, and got its answer."""
    (root / "a").write_bytes(b"old") if on_conflict is REPLACE else None
    (root / "b").mkdir()
    other = LocalStorage(root)
    await other.start()
    real = publication.Publication._place

    def place(self, file):
        if file.name == "b":
            os.rename(root / ".staging" / "other", root / "a")
            raise NameTaken
        return real(self, file)

    (root / ".staging" / "other").write_bytes(b"theirs")
    monkeypatch.setattr(publication.Publication, "_place", place)
    async with storage.stage(uuid4(), "alice") as stage:
        for name in ("a", "b"):
            await stage.create(name, on_conflict if name == "a" else REPLACE)
        await stage.sync()
        with pytest.raises(NameTaken):
            await stage.publish(on_conflict)
    await other.close()
    assert (root / "a").read_bytes() == b"theirs"
    assert os.listdir(root / ".staging") == []


async def test_one_name_that_cannot_be_taken_back_does_not_keep_the_others(storage, root, monkeypatch):
    """The refusal is told as it was, and what can be undone is."""
    real = publication.Publication._place

    def place(self, file):
        if file.name == "c":
            (root / "b").unlink()
            raise NameTaken
        return real(self, file)

    monkeypatch.setattr(publication.Publication, "_place", place)
    async with storage.stage(uuid4(), "alice") as stage:
        for name in "abc":
            await stage.create(name, REJECT)
        await stage.sync()
        with pytest.raises(NameTaken):
            await stage.publish(REJECT)
    assert os.listdir(root) == [".staging"]


async def test_two_servers_on_one_root_replace_one_at_a_time(storage, root):
    """The root's lock holds between storages, as between processes."""
    other = LocalStorage(root)
    await other.start()
    await put(storage, "a", b"old", REPLACE)
    with storage._disk.root_lock():
        replacing = asyncio.create_task(put(other, "a", b"x", REPLACE))
        await asyncio.wait([replacing], timeout=0.05)
        assert not replacing.done()
    await replacing
    await other.close()


async def test_closing_discards_what_is_still_open(storage, root):
    """A job whose own code held the shutdown up has nothing left afterwards, and can begin nothing."""
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"x")
        await storage.close()
        assert os.listdir(root / ".staging") == []
        with pytest.raises(StorageFailed):
            await stage.create("b", REJECT)
    assert os.listdir(root / ".staging") == []
    await storage.start()


async def test_a_directory_of_that_name_is_never_replaced(storage, root):
    (root / "a").mkdir()
    with pytest.raises(NameTaken):
        await put(storage, "a", b"x", REPLACE)
    assert os.listdir(root / ".staging") == []


@pytest.mark.parametrize("kind", ["symlink", "dangling", "directory", "fifo"])
async def test_only_regular_files_of_the_root_are_given_out(storage, root, tmp_path, kind):
    """A symlink is not followed, and a FIFO does not hang anybody."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    match kind:
        case "symlink":
            (root / "a").symlink_to(secret)
        case "dangling":
            (root / "a").symlink_to(tmp_path / "nothing")
        case "directory":
            (root / "a").mkdir()
        case "fifo":
            os.mkfifo(root / "a")
    with pytest.raises(FileNotFound):
        await storage.open("a")
    with pytest.raises(NameTaken):
        await put(storage, "a", b"x")
    assert secret.read_text() == "secret"


async def test_replacing_a_symlink_replaces_the_link(storage, root, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (root / "a").symlink_to(secret)
    await put(storage, "a", b"x", REPLACE)
    assert not (root / "a").is_symlink()
    assert secret.read_text() == "secret"


async def test_published_files_have_the_mode_that_the_umask_leaves(storage, root):
    before = os.umask(0o027)
    try:
        await put(storage, "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640


async def test_a_slow_disk_is_waited_for_in_a_thread_until_it_is_fast_again(storage, monkeypatch):
    """After one slow write the loop writes nothing itself, to no file (G7), until the disk has been fast for a while;
    and that while doubles if the first write after it is slow again."""
    inline = []
    loop_thread = threading.get_ident()
    clock = [1000.0]
    took = [0.0]
    real = os.write

    def write(fd, data):
        inline.append(threading.get_ident() == loop_thread)
        clock[0] += took[0]
        return real(fd, data)

    async def writes(file, seconds, later=0.0):
        clock[0] += later
        took[0] = seconds
        await file.write(b"x" * 100)
        return inline.pop()

    pace = storage._disk.page_cache
    pace.close()  # what the kernel says of this machine is another matter
    async with storage.stage(uuid4(), "alice") as stage:
        file, other = await stage.create("a", REJECT), await stage.create("b", REJECT)
        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(staged.time, "perf_counter", lambda: clock[0])
        assert await writes(file, pace.SLOW_SECONDS / 2)
        assert await writes(file, pace.SLOW_SECONDS * 2)
        assert not await writes(other, pace.SLOW_SECONDS / 2)
        assert not await writes(file, pace.SLOW_SECONDS * 2, later=pace.MIN_HOLD_SECONDS / 2)
        assert not await writes(file, 0, later=pace.MIN_HOLD_SECONDS * 0.9), "it was slow again meanwhile"
        assert await writes(file, pace.SLOW_SECONDS * 2, later=pace.MIN_HOLD_SECONDS * 0.2)
        assert not await writes(file, 0, later=pace.MIN_HOLD_SECONDS * 1.9)
        assert await writes(file, 0, later=pace.MIN_HOLD_SECONDS * 0.2)
        assert await writes(file, pace.SLOW_SECONDS * 2, later=pace.MAX_HOLD_SECONDS * 2)
        assert await writes(file, 0, later=pace.MIN_HOLD_SECONDS * 1.1), "that was long ago"
        monkeypatch.undo()
        assert file.size + other.size == 1000


async def test_descriptors_return_to_where_they_were(storage, root):
    """After publishing, discarding and reading, none is left open."""
    before = descriptors()
    for number in range(10):
        await put(storage, f"f{number}", b"x")
        async with storage.stage(uuid4(), "alice") as stage:
            await stage.create(f"g{number}", REJECT)
        async with await storage.open(f"f{number}") as source:
            await source.read(0, 10)
    await eventually(lambda: descriptors() <= before, "the closing of descriptors, which threads do")


async def test_a_descriptor_outlives_the_thread_that_uses_it(storage, monkeypatch):
    """A task cancelled while a thread syncs its file does not close it under the thread."""
    in_thread, may_go, used = threading.Event(), threading.Event(), []
    real = os.fsync

    def fsync(fd):
        in_thread.set()
        may_go.wait()
        used.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)

    async def receive():
        async with storage.stage(uuid4(), "alice") as stage:
            await (await stage.create("a", REJECT)).write(b"x" * 10)
            await stage.sync()

    task = asyncio.create_task(receive())
    await asyncio.to_thread(in_thread.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert used == []
    may_go.set()
    await storage.close()
    assert used == [10]
    monkeypatch.undo()
    await storage.start()


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EIO, StorageFailed),
        (errno.EACCES, StorageFailed),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link"])
async def test_what_the_system_raises_is_named_once_and_nothing_is_left(
    storage, root, monkeypatch, call, number, error
):
    """At whichever call: the contract's error, no name, nothing staged."""

    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    async def receive():
        async with storage.stage(uuid4(), "alice") as stage:
            if call == "open":
                monkeypatch.setattr(os, "open", broken)
            file = await stage.create("a", REJECT)
            if call != "open":
                monkeypatch.setattr(os, call, broken)
            await file.write(b"x")
            await stage.sync()
            await stage.publish(REJECT)

    with pytest.raises(error) as caught:
        await receive()
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, OSError)
    assert not (root / "a").exists()
    assert os.listdir(root / ".staging") == []


async def test_a_name_whose_directory_could_not_be_synced_is_taken_back(storage, root, monkeypatch):
    """Nothing is visible that is not durable (G3)."""
    real = os.fsync
    failed = []

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode) and not failed:
            failed.append(True)
            raise OSError(errno.EIO, "input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageFailed):
        await put(storage, "a", b"x")
    assert failed
    assert not (root / "a").exists()


async def test_a_write_that_takes_only_a_part_is_continued(storage, root, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[: max(1, len(data) // 2)])))
    data = os.urandom(10_000)
    await put(storage, "a", data)
    assert (root / "a").read_bytes() == data


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EPERM, "hard links"), (errno.EOPNOTSUPP, "hard links"), (errno.EXDEV, "same file system")],
)
async def test_a_root_without_hard_links_is_refused_with_the_reason(root, monkeypatch, number, reason):
    def broken(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", broken)
    before = descriptors()
    with pytest.raises(StorageUnusable, match=reason):
        await LocalStorage(root).start()
    assert descriptors() == before
    assert os.listdir(root / ".staging") == []


async def test_a_root_that_cannot_be_made_is_refused_with_the_reason(tmp_path):
    with pytest.raises(StorageUnusable, match="parent"):
        await LocalStorage(tmp_path / "no" / "where").start()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageUnusable):
        await LocalStorage(tmp_path / "file").start()


async def test_a_staging_directory_that_is_a_link_is_refused(root, tmp_path):
    """StagedFile bytes never leave the root."""
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / ".staging").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageUnusable):
        await LocalStorage(root).start()


async def test_starting_leaves_nothing_behind(storage, root):
    assert sorted(os.listdir(root)) == [".staging"]
    assert os.listdir(root / ".staging") == []
    assert stat.S_IMODE((root / ".staging").stat().st_mode) == 0o700


async def test_a_replacement_that_cannot_be_moved_leaves_the_old_file_and_nothing_else(storage, root, monkeypatch):
    await put(storage, "a", b"old")

    def broken(*args, **kwargs):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(StorageFailed):
        await put(storage, "a", b"new", REPLACE)
    assert (root / "a").read_bytes() == b"old"
    assert os.listdir(root / ".staging") == []


async def test_names_taken_back_are_durably_gone(storage, root, monkeypatch):
    """A power cut after the refusal brings none back (G3)."""
    undone, unlink, fsync = [], os.unlink, os.fsync
    async with storage.stage(uuid4(), "alice") as stage:
        for name in "ab":
            await stage.create(name, REJECT)
        (root / "b").touch()
        await stage.sync()
        monkeypatch.setattr(os, "unlink", lambda name, **kwargs: (undone.append(name), unlink(name, **kwargs)))
        monkeypatch.setattr(os, "fsync", lambda fd: (undone.append("fsync"), fsync(fd)))
        with pytest.raises(NameTaken):
            await stage.publish(REJECT)
        assert undone == ["a", "fsync"]


async def test_an_open_file_outlives_the_thread_that_reads_it(root, monkeypatch):
    """An export cancelled while a thread reads does not close the file under it."""
    storage = LocalStorage(root, threads=2)
    await storage.start()
    await put(storage, "a", b"x" * 10)
    in_thread, may_go, read, real = threading.Event(), threading.Event(), [], os.pread

    def pread(fd, size, offset):
        in_thread.set()
        may_go.wait()
        read.append(real(fd, size, offset))
        return read[-1]

    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "preadv", mock.Mock(side_effect=BlockingIOError))  # it is not in memory

    async def export():
        async with await storage.open("a") as source:
            await source.read(0, 10)

    task = asyncio.create_task(export())
    await asyncio.to_thread(in_thread.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await storage._disk.run(lambda: None)  # the other thread is through with whatever it was given
    may_go.set()
    await storage.close()
    assert read == [b"x" * 10]


async def test_what_is_not_given_out_is_not_kept_open(storage, root):
    (root / "directory").mkdir()
    before = descriptors()
    for _ in range(10):
        with pytest.raises(FileNotFound):
            await storage.open("directory")
    assert descriptors() <= before


async def test_closing_waits_for_the_threads(root):
    """The directories stay open for as long as a thread may use them."""
    storage = LocalStorage(root)
    await storage.start()
    may_go = threading.Event()
    storage._disk.run(may_go.wait)
    closing = asyncio.create_task(storage.close())
    await asyncio.wait([closing], timeout=0.05)
    waited = not closing.done()
    may_go.set()
    await closing
    assert waited


async def test_a_file_that_a_thread_still_creates_does_not_outlive_its_stage(root, monkeypatch):
    """Cancelled within open(2): nothing is staged when the task has ended (G1)."""
    storage = LocalStorage(root)
    await storage.start()
    in_thread, may_go, real = threading.Event(), threading.Event(), os.open

    def slow(*args, **kwargs):
        in_thread.set()
        may_go.wait()
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "open", slow)

    async def receive():
        async with storage.stage(uuid4(), "alice") as stage:
            await stage.create("a", REJECT)
            await asyncio.sleep(3600)

    task = asyncio.create_task(receive())
    await asyncio.to_thread(in_thread.wait)
    task.cancel()
    await asyncio.sleep(0)
    may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await storage.close()
    assert os.listdir(root / ".staging") == []
