"""What a storage keeps for uploads that outlive their process, on every storage."""

import asyncio
import hashlib
import os
from uuid import uuid4

import pytest

from headgate.errors import JobIdTaken, NameTaken, PreconditionFailed, UploadGone
from headgate.storage import ExpectedSize, Precondition
from storages import REJECT, REPLACE, STORAGES, get, put


@pytest.fixture(params=STORAGES)
async def make(request, tmp_path):
    """Starts as many storages as are wanted, all of the same place."""
    started = []

    async def make():
        storage = STORAGES[request.param](tmp_path)
        await storage.start()
        started.append(storage)
        return storage

    yield make
    for storage in started:
        await storage.close()


async def create(storage, data=b"", record="r"):
    partial = await storage.create_partial(uuid4(), "alice", record)
    async with partial:
        await partial.write(data)
    return partial


async def has(partial, data):
    """Return whether `partial` has `data`, as its size and its digest say."""
    async with partial:
        digests = await partial.digests({"sha256"})
        return (partial.size, digests["sha256"]) == (len(data), hashlib.sha256(data).digest())


async def test_a_partial_file_is_there_for_the_next_process(make):
    """Its bytes, its record, and that they are alice's; nothing of it is published."""
    storage = await make()
    partial = await create(storage, b"12345", "of an upload\nin two lines")
    again = await make()
    assert await again.list_partials() == [partial.id]
    found = await again.find_partial(partial.id)
    assert (found.id, found.owner, found.size, found.published) == (partial.id, "alice", 5, None)
    assert found.record == "of an upload\nin two lines"
    assert await has(found, b"12345")
    assert await again.list(None, 10) == []
    assert await again.find_partial(uuid4()) is None


async def test_bytes_are_added_each_time_that_it_is_entered(make):
    """What came since it was entered can be taken back as a whole."""
    storage = await make()
    partial = await create(storage, b"123")
    async with partial:
        await partial.write(b"45")
        await partial.write(b"6")
        await partial.sync()
        assert partial.size == 6
    async with partial:
        await partial.write(b"78")
        await partial.roll_back()
        await partial.write(b"x")
    assert await has(partial, b"123456x")


async def test_a_chunk_counts_once_it_is_confirmed(make):
    """One that was not right is dropped, and so is one whose process was killed before it knew."""
    storage = await make()
    partial = await create(storage, b"123")
    async with partial:
        await partial.begin_chunk()
        await partial.write(b"45")
        await partial.confirm_chunk()
        await partial.begin_chunk()
        await partial.write(b"wrong")
        await partial.roll_back()
        await partial.begin_chunk()
        await partial.write(b"never confirmed")
    found = await (await make()).find_partial(partial.id)
    assert await has(found, b"12345")


async def test_an_id_is_given_once(make):
    storage = await make()
    partial = await create(storage)
    with pytest.raises(JobIdTaken):
        await storage.create_partial(partial.id, "alice", "other")
    await partial.delete_bytes()
    with pytest.raises(JobIdTaken):
        await storage.create_partial(partial.id, "alice", "other")
    await partial.discard()
    again = await storage.create_partial(partial.id, "alice", "other")
    assert (again.size, again.record) == (0, "other")


async def test_it_is_put_together_from_others(make):
    """The same one twice, too; they stay as they are."""
    storage = await make()
    a, b = await create(storage, b"aaa" * 100_000), await create(storage, b"bb")
    whole = await create(storage, b"left of an earlier try")
    async with whole:
        await whole.clear()
        await whole.reserve(ExpectedSize(900_002, 900_002))
        for part in (a, b, a):
            await whole.append(part)
    assert await has(whole, b"aaa" * 100_000 + b"bb" + b"aaa" * 100_000)
    assert (a.size, b.size) == (300_000, 2)


@pytest.mark.parametrize("rule", [REJECT, REPLACE])
async def test_it_is_published_whole_and_its_record_says_so(make, rule):
    storage = await make()
    if rule is REPLACE:
        await put(storage, ("a", b"old"))
    partial = await create(storage, b"123")
    async with partial:
        await partial.sync()
        done = await partial.publish("a", rule, "done")
    assert (done.entry.name, done.entry.size, done.replaced) == ("a", 3, rule is REPLACE)
    assert done.entry == await storage.stat("a")
    assert (partial.size, partial.record, partial.published) == (None, "done", done)
    assert await get(storage, "a") == b"123"
    found = await (await make()).find_partial(partial.id)
    assert (found.size, found.record, found.published) == (None, "done", done)
    assert await storage.list_partials() == []


async def test_what_cannot_be_published_stays(make):
    """As it was; what it was to replace, too."""
    storage = await make()
    await put(storage, ("a", b"old"))
    partial = await create(storage, b"123")
    async with partial:
        await partial.sync()
        with pytest.raises(NameTaken):
            await partial.publish("a", REJECT, "done")
        with pytest.raises(PreconditionFailed):
            await partial.publish("a", REPLACE, "done", Precondition(exists=False))
    assert await has(partial, b"123")
    assert partial.record == "r"
    assert await get(storage, "a") == b"old"


@pytest.mark.parametrize("opened", [False, True])
async def test_what_is_dropped_is_gone_and_its_record_stays_until_it_is_discarded(make, opened):
    storage = await make()
    partial = await create(storage, b"123")
    if opened:
        async with partial:
            await partial.delete_bytes()
    else:
        await partial.delete_bytes()
    await partial.update_record("dropped")
    assert await storage.list_partials() == []
    found = await storage.find_partial(partial.id)
    assert (found.size, found.record) == (None, "dropped")
    with pytest.raises(UploadGone):
        await found.__aenter__()
    await partial.discard()
    assert await storage.find_partial(partial.id) is None


async def test_a_caller_that_is_cancelled_leaves_it_as_it_is(make):
    """Whatever it was doing: it can be opened again, and has what was written."""
    storage = await make()
    partial = await create(storage, b"0" * 1000)
    for turns in range(8):

        async def work():
            async with partial:
                await partial.write(b"1" * 1000)
                await partial.sync()
                await partial.update_record("noted")
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await partial.refresh()
        assert partial.size % 1000 == 0
        assert await has(partial, b"0" * 1000 + b"1" * (partial.size - 1000))
    assert len(os.listdir("/proc/self/fd")) < 200


async def test_bytes_are_counted_while_they_are_partial(tmp_path):
    """As their owner's, and what is promised while it is open; nothing is counted twice."""
    storage = STORAGES["local"](tmp_path)
    await storage.start()
    partial = await create(storage, b"x" * 1000)
    ledger = storage.ledger
    assert (ledger.total, ledger.owned("alice")) == (1000, 1000)
    async with partial:
        await partial.reserve(ExpectedSize(500, 500))
        assert ledger.total == 1500
        await partial.write(b"x" * 100)
        assert ledger.total == 1500
    assert ledger.total == 1100
    found = await storage.find_partial(partial.id)
    assert ledger.owned("alice") == 2200
    found.release()
    await partial.delete_bytes()
    assert ledger.total == 0
    await storage.close()
