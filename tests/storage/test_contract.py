"""The contract of storage/contract.py, run on every storage. A new storage is one more line in STORAGES."""

import asyncio
import os
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from headgate.errors import FileNotFound, NameTaken, PreconditionFailed, StorageFailed
from headgate.lowlevel.page_memory import aligned
from headgate.storage import ExpectedSize, Precondition, SortKey, Storage
from storages import REJECT, RENAME, REPLACE, STORAGES, get, put, staged


@pytest.fixture(params=STORAGES)
async def storage(request, tmp_path):
    storage: Storage = STORAGES[request.param](tmp_path)
    await storage.start()
    yield storage
    await storage.close()


@pytest.mark.parametrize("first", [0, 1, 5000])
async def test_memory_may_be_used_again_after_the_second_write(storage, first):
    """Two blocks take turns: what was written from one is safe when the write of the other has returned."""
    blocks = [aligned(1_500_000), aligned(1_500_000)]
    async with staged(storage, ("a", b"x" * first)) as stage:
        file, whole = await stage.create("b", REJECT), b"x" * first
        if first:
            await file.write(whole)
        for number in range(8):
            start = len(whole) % 4096
            block = blocks[number % 2][start:]
            block[:] = os.urandom(len(block))
            await file.write(block)
            whole += bytes(block)
            blocks[(number + 1) % 2][:] = bytes(1_500_000)
        await file.flush()
        block[:] = bytes(len(block))
        await stage.sync()
        await stage.publish(REJECT)
    assert await get(storage, "b") == whole


async def test_what_is_published_is_listed_by_name(storage):
    """In the order of the names' bytes, from any place on, as many as are wanted; nothing staged."""
    names = ["b", "a", "ä", "Z", "a b", "z"]
    await put(storage, *((name, name.encode() * 100) for name in names))
    async with staged(storage, ("c", b"x")):
        wanted = sorted(names, key=str.encode)
        listed = await storage.list(None, 100)
        assert [entry.name for entry in listed] == wanted
        assert [entry.size for entry in listed] == [100 * len(name.encode()) for name in wanted]
        assert all(entry.modified_at.tzinfo is not None for entry in listed)
        assert [entry.name for entry in await storage.list((0, b"a"), 2)] == wanted[2:4]
        assert [entry.name for entry in await storage.list((0, b"a a"), 1)] == ["a b"]
        assert await storage.list((0, "ä".encode()), 5) == []


@pytest.mark.parametrize("order", SortKey)
@pytest.mark.parametrize("descending", [False, True])
async def test_a_list_comes_in_any_order_and_from_any_place_on(storage, order, descending):
    """Those that are the same in it, by name; what has gone meanwhile leaves its place."""
    for name, size in (("b", 5), ("a", 5), ("ä", 300), ("c", 0), ("B", 5), ("z", 17)):
        await put(storage, (name, b"x" * size))
    every = await storage.list(None, 100, order, descending=descending)
    assert every == sorted(every, key=order.cursor, reverse=descending)
    assert len(every) == 6
    for start in range(6):
        place = order.cursor(every[start])
        assert await storage.list(place, 2, order, descending=descending) == every[start + 1 : start + 3]
    await storage.delete(every[2].name)
    assert await storage.list(order.cursor(every[2]), 9, order, descending=descending) == every[3:]


async def test_what_is_deleted_is_gone_and_its_name_free(storage):
    """Whoever has it open keeps it."""
    await put(storage, ("a", b"old"), ("b", b"other"))
    async with await storage.open("a") as source:
        await storage.delete("a")
        assert await get(storage, "a") is None
        assert await source.read(0, 10) == b"old"
    with pytest.raises(FileNotFound):
        await storage.delete("a")
    assert await put(storage, ("a", b"new")) == ["a"]
    assert (await get(storage, "a"), await get(storage, "b")) == (b"new", b"other")


async def test_a_delete_that_is_cancelled_is_done_all_the_same(storage):
    """Its caller is told of the cancellation; nothing is half removed."""
    await put(storage, ("a", b"x"))
    task = asyncio.create_task(storage.delete("a"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await get(storage, "a") is None
    assert await storage.list(None, 5) == []


async def test_what_was_written_is_published_whole(storage):
    data = os.urandom(12_345)
    assert await put(storage, ("a.bin", data)) == ["a.bin"]
    assert await get(storage, "a.bin") == data


async def test_an_empty_file_is_a_file(storage):
    await put(storage, ("empty", b""))
    assert await get(storage, "empty") == b""


async def test_nothing_is_visible_before_it_is_published(storage):
    async with staged(storage, ("a", b"x")) as stage:
        assert await get(storage, "a") is None
        await stage.sync()
        assert await get(storage, "a") is None


async def test_leaving_without_publishing_discards(storage):
    async with staged(storage, ("a", b"x"), ("b", b"y")):
        pass
    assert await get(storage, "a") is None
    assert await put(storage, ("a", b"second")) == ["a"]


async def test_leaving_runs_to_its_end_however_often_it_is_cancelled(storage):
    """What was written is nowhere when the stage has been left, and the cancellation is delivered afterwards."""
    written = asyncio.Event()

    async def leave():
        async with storage.stage(uuid4(), "alice") as stage:
            await (await stage.create("a", REJECT)).write(b"x")
            written.set()
        await asyncio.sleep(0)

    task = asyncio.create_task(leave())
    await written.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert await put(storage, ("a", b"y")) == ["a"]
    assert await get(storage, "a") == b"y"


async def test_reject_refuses_a_taken_name_early_and_late(storage):
    """The first content stays."""
    async with staged(storage, ("a", b"late")) as stage:
        await put(storage, ("a", b"first"))
        await stage.sync()
        with pytest.raises(NameTaken):
            await stage.publish(REJECT)
    with pytest.raises(NameTaken):
        async with staged(storage, ("a", b"later")):
            pytest.fail("created")
    assert await get(storage, "a") == b"first"


async def test_rename_finds_the_next_free_name(storage):
    assert [await put(storage, ("a.txt", b"%d" % n), on_conflict=RENAME) for n in range(3)] == [
        ["a.txt"],
        ["a (1).txt"],
        ["a (2).txt"],
    ]
    assert [await get(storage, name) for name in ("a.txt", "a (1).txt", "a (2).txt")] == [b"0", b"1", b"2"]


async def test_replace_takes_the_place(storage):
    await put(storage, ("a", b"first"))
    assert await put(storage, ("a", b"second"), on_conflict=REPLACE) == ["a"]
    assert await put(storage, ("new", b"x"), on_conflict=REPLACE) == ["new"]
    assert await get(storage, "a") == b"second"


async def test_an_open_source_keeps_its_content_though_the_name_be_replaced(storage):
    await put(storage, ("a", b"first"))
    async with await storage.open("a") as source:
        await put(storage, ("a", b"second!"), on_conflict=REPLACE)
        assert await source.read(0, 100) == b"first"


@pytest.mark.parametrize("on_conflict", [REJECT, REPLACE])
async def test_two_files_of_one_stage_cannot_have_one_name(storage, on_conflict):
    with pytest.raises(NameTaken):
        async with staged(storage, ("a", b"1"), ("a", b"2"), on_conflict=on_conflict):
            pytest.fail("created")


async def test_two_files_of_one_stage_are_renamed_apart(storage):
    assert await put(storage, ("a", b"1"), ("a", b"2"), on_conflict=RENAME) == ["a", "a (1)"]


@pytest.mark.parametrize("on_conflict", [REJECT])
async def test_files_are_published_together_or_not_at_all(storage, on_conflict):
    """The last of three cannot be published: the two before it are taken back."""
    async with staged(storage, ("a", b"1"), ("b", b"2"), ("c", b"3")) as stage:
        await put(storage, ("c", b"taken"))
        await stage.sync()
        with pytest.raises(NameTaken):
            await stage.publish(on_conflict)
    assert [await get(storage, name) for name in "abc"] == [None, None, b"taken"]


async def test_many_publishing_one_name_have_one_winner(storage):
    """Sixteen at once, each whole; exactly one gets the name and the others are told."""

    async def one(number):
        try:
            async with staged(storage, ("a", b"%02d" % number * 1000)) as stage:
                await stage.sync()
                await stage.publish(REJECT)
        except NameTaken:
            return None
        return number

    winners = [number for number in await asyncio.gather(*map(one, range(16))) if number is not None]
    assert len(winners) == 1
    assert await get(storage, "a") == b"%02d" % winners[0] * 1000


async def test_publishing_runs_to_its_end_although_the_caller_is_cancelled(storage):
    """The file is there, whole, and the caller learns it before it meets its cancellation."""
    outcome = []

    async def publish():
        async with staged(storage, ("a", b"x" * 5000)) as stage:
            await stage.sync()
            asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
            outcome.extend(await stage.publish(REJECT))
            await asyncio.sleep(3600)

    task = asyncio.create_task(publish())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each.entry.name for each in outcome] == ["a"]
    assert await get(storage, "a") == b"x" * 5000


@pytest.mark.parametrize("step", ["create", "write", "sync"])
async def test_a_cancelled_stage_leaves_nothing(storage, step):
    """Cancelled in the middle of any step, the name is free and the content nowhere."""

    async def receive():
        current = asyncio.current_task()
        loop = asyncio.get_running_loop()
        async with storage.stage(uuid4(), "alice") as stage:
            if step == "create":
                loop.call_soon(current.cancel)
            file = await stage.create("a", REJECT)
            if step == "write":
                loop.call_soon(current.cancel)
            while step != "sync":
                await file.write(b"x" * 1000)
                await asyncio.sleep(0)
            await file.write(b"x")
            loop.call_soon(current.cancel)
            await stage.sync()
            await asyncio.sleep(3600)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(receive())
    assert await get(storage, "a") is None
    assert await put(storage, ("a", b"free")) == ["a"]


async def test_a_source_reads_any_range(storage):
    data = os.urandom(10_000)
    await put(storage, ("a", data))
    async with await storage.open("a") as source:
        assert source.size == len(data)
        assert await source.read(0, 1) == data[:1]
        assert await source.read(1234, 567) == data[1234:1801]
        assert await source.read(9_990, 100) == data[9_990:]
        assert await source.read(10_000, 100) == b""
        if source.file is not None:
            assert os.pread(source.file.fileno(), 100, 50) == data[50:150]


async def test_a_source_streams_any_range(storage):
    """Piece by piece; a range that the file does not have is an error, and not a shorter stream."""
    data = os.urandom(600_000)
    await put(storage, ("a", data))
    async with await storage.open("a") as source:
        for start, end in ((0, 600_000), (1, 2), (1234, 555_555), (600_000, 600_000)):
            assert b"".join([piece async for piece in source.stream(start, end)]) == data[start:end]
        with pytest.raises(StorageFailed):
            _ = [piece async for piece in source.stream(599_990, 600_010)]


async def test_a_precondition_is_held_where_the_name_changes_hands(storage):
    """For publishing over a file, and for deleting it: nothing happens if it does not hold."""
    await put(storage, ("a", b"old"))
    there = await storage.stat("a")
    missing = Precondition(exists=False)
    other = Precondition(etags=frozenset({"other"}))
    for precondition in (missing, other, Precondition(other_than=frozenset({there.etag}))):
        with pytest.raises(PreconditionFailed):
            await storage.delete("a", precondition)
        async with staged(storage, ("a", b"new"), on_conflict=REPLACE) as stage:
            await stage.sync()
            with pytest.raises(PreconditionFailed):
                await stage.publish(REPLACE, precondition)
    assert await get(storage, "a") == b"old"
    async with staged(storage, ("a", b"new"), on_conflict=REPLACE) as stage:
        await stage.sync()
        (published,) = await stage.publish(REPLACE, Precondition(etags=frozenset({there.etag})))
    assert published.replaced
    async with staged(storage, ("b", b"x"), on_conflict=REPLACE) as stage:
        await stage.sync()
        await stage.publish(REPLACE, missing)
    await storage.delete("a", Precondition(exists=True, unmodified_since=datetime.now(UTC).replace(microsecond=0)))
    assert (await storage.stat("a"), await get(storage, "b")) == (None, b"x")


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
async def test_a_stage_that_is_told_its_size_publishes_the_same(storage, size):
    """Small or large, exact or a range: what it was told changes nothing of what is published."""
    for number, expected in enumerate((ExpectedSize(size, size), ExpectedSize(0, size + 10))):
        async with storage.stage(uuid4(), "alice", expected) as stage:
            file = await stage.create(f"{size}-{number}", REJECT)
            await file.write(b"x" * size)
            await file.flush()
            await stage.sync(required=False)
            (published,) = await stage.publish(REJECT)
        assert published.entry.size == size
        assert await get(storage, f"{size}-{number}") == b"x" * size


async def test_a_missing_file_is_not_found(storage):
    with pytest.raises(FileNotFound):
        await storage.open("nothing")


@pytest.mark.parametrize("name", ["日本語.txt", "with space", "-rf", "a'b\"c;d&e", "x" * 255, "é" * 127])
async def test_any_allowed_name_can_be_kept(storage, name):
    assert await put(storage, (name, b"x")) == [name]
    assert await get(storage, name) == b"x"
