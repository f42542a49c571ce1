"""What a storage keeps for uploads that outlive their process, on every storage."""

import asyncio
import os
from uuid import UUID, uuid4

import pytest

from headgate.errors import JobIdTaken, NameTaken, PreconditionFailed, UploadGone, UploadLocked
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


async def keep(storage, data=b"", record="r"):
    kept = await storage.keep(uuid4(), "alice", record)
    async with kept:
        await kept.write(data)
    return kept


async def content(kept):
    async with kept:
        data = await kept.read(0, (kept.size or 0) + 1)
        assert len(data) == kept.size
        return data


async def test_what_is_kept_is_there_for_the_next_process(make):
    """Its bytes, its record, and that they are alice's; nothing of it is published."""
    storage = await make()
    kept = await keep(storage, b"12345", "of alice")
    again = await make()
    assert await again.all_partials() == [kept.id]
    found = await again.find_partial(kept.id, lambda record: record.removeprefix("of "))
    assert (found.id, found.size, found.record, found.published) == (kept.id, 5, "of alice", None)
    assert await content(found) == b"12345"
    assert await again.list(None, 10) == []
    assert await again.find_partial(uuid4(), str) is None


async def test_it_is_added_to_each_time_that_it_is_open(make):
    storage = await make()
    kept = await keep(storage, b"123")
    async with kept:
        await kept.write(b"45")
        await kept.write(b"6")
        await kept.sync()
        assert (kept.size, await kept.read(2, 2)) == (6, b"34")
        await kept.cut(4)
        await kept.write(b"x")
    assert await content(kept) == b"1234x"


async def test_an_id_is_kept_once(make):
    storage = await make()
    kept = await keep(storage)
    with pytest.raises(JobIdTaken):
        await storage.keep(kept.id, "alice", "other")
    await kept.drop()
    with pytest.raises(JobIdTaken):
        await storage.keep(kept.id, "alice", "other")
    await kept.discard()
    again = await storage.keep(kept.id, "alice", "other")
    assert (again.size, again.record) == (0, "other")


async def test_it_is_one_callers_while_it_is_open(make):
    """In whatever process."""
    storage, other = await make(), await make()
    kept = await keep(storage, b"123")
    theirs = await other.find_partial(kept.id, str)
    async with kept:
        with pytest.raises(UploadLocked):
            await theirs.__aenter__()
        await kept.write(b"45")
    assert await content(theirs) == b"12345"


async def test_it_is_put_together_from_others(make):
    """The same one twice, too; they stay as they are."""
    storage = await make()
    a, b = await keep(storage, b"aaa" * 100_000), await keep(storage, b"bb")
    whole = await keep(storage)
    async with whole:
        await whole.reserve(900_002, 900_002)
        for part in (a, b, a):
            await whole.append(part)
    assert await content(whole) == b"aaa" * 100_000 + b"bb" + b"aaa" * 100_000
    assert (a.size, b.size) == (300_000, 2)


@pytest.mark.parametrize("rule", [REJECT, REPLACE])
async def test_it_is_published_whole_and_its_record_says_so(make, rule):
    storage = await make()
    if rule is REPLACE:
        await put(storage, ("a", b"old"))
    kept = await keep(storage, b"123")
    async with kept:
        await kept.sync()
        done = await kept.publish("a", rule, lambda done: f"is {done.entry.name}, {done.entry.size}")
    assert (done.entry.name, done.entry.size, done.replaced) == ("a", 3, rule is REPLACE)
    assert done.entry == await storage.look("a")
    assert (kept.size, kept.record) == (None, "is a, 3")
    assert await get(storage, "a") == b"123"
    found = await (await make()).find_partial(kept.id, str)
    assert (found.size, found.record) == (None, "is a, 3")
    assert await storage.all_partials() == []


async def test_what_cannot_be_published_stays(make):
    """As it was; what it was to replace, too."""
    storage = await make()
    await put(storage, ("a", b"old"))
    kept = await keep(storage, b"123")

    def unwanted(there):
        raise PreconditionFailed

    async with kept:
        await kept.sync()
        with pytest.raises(NameTaken):
            await kept.publish("a", REJECT, lambda _: "done")
        with pytest.raises(PreconditionFailed):
            await kept.publish("a", REPLACE, lambda _: "done", unwanted)
    assert await content(kept) == b"123"
    assert kept.record == "r"
    assert await get(storage, "a") == b"old"


@pytest.mark.parametrize("opened", [False, True])
async def test_what_is_dropped_is_gone_and_its_record_stays_until_it_is_discarded(make, opened):
    storage = await make()
    kept = await keep(storage, b"123")
    if opened:
        async with kept:
            await kept.drop()
    else:
        await kept.drop()
    await kept.note("dropped")
    assert await storage.all_partials() == []
    found = await storage.find_partial(kept.id, str)
    assert (found.size, found.record) == (None, "dropped")
    with pytest.raises(UploadGone):
        await found.__aenter__()
    await kept.discard()
    assert await storage.find_partial(kept.id, str) is None


async def test_a_caller_that_is_cancelled_leaves_it_as_it_is(make):
    """Whatever it was doing: it can be opened again, and has what was written."""
    storage = await make()
    kept = await keep(storage, b"0" * 1000)
    for turns in range(8):

        async def work():
            async with kept:
                await kept.write(b"1" * 1000)
                await kept.sync()
                await kept.note("noted")
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        data = await content(kept)
        assert len(data) % 1000 == 0
        assert data.rstrip(b"1") == b"0" * 1000
    assert len(os.listdir("/proc/self/fd")) < 200


async def test_bytes_are_counted_while_they_are_kept(tmp_path):
    """As their owner's, and what is promised while it is open; nothing is counted twice."""
    storage = STORAGES["local"](tmp_path)
    await storage.start()
    kept = await keep(storage, b"x" * 1000)
    ledger = storage.ledger
    assert (ledger.total, ledger.owned("alice")) == (1000, 1000)
    async with kept:
        await kept.reserve(500, 500)
        assert ledger.total == 1500
        await kept.write(b"x" * 100)
        assert ledger.total == 1500
        await kept.cut(1050)
    assert ledger.total == 1050
    found = await storage.find_partial(UUID(str(kept.id)), lambda _: "bob")
    assert (ledger.owned("alice"), ledger.owned("bob")) == (1050, 1050)
    found.let_go()
    await kept.drop()
    assert ledger.total == 0
    await storage.close()
