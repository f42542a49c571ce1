"""Two servers on one root, and what killed ones left there: what one knows may be old, what is on the disk is not."""

import asyncio
import errno
import json
import os
import threading
from uuid import UUID

import pytest

from headgate.storage.local import local_storage as local
from headgate.storage.local import sweeper
from headgate.storage.local.incoming import staged_file as staged
from headgate.storage.local.partial import file_locks, partial_file, partial_lookup
from headgate.storage.local.partial.stored_record import StoredRecord
from support import HeldUpload, as_user, eventually, part, serving, token_users
from tus import begin_chunk_at, call, create, held, job_id, named, offset, patch


def kept_file(root, url):
    return root / ".staging" / f"{job_id(url)}.kept"


def record_file(root, url):
    return root / ".staging" / f"{job_id(url)}.kept.json"


def rewrite(root, url, **changes):
    path = record_file(root, url)
    stored = StoredRecord.load(path.read_text())
    path.write_text(stored.with_text(json.dumps(json.loads(stored.text) | changes)).dump())


# Two servers.


async def test_what_one_receives_the_other_does_not_let_expire(root):
    """Though it has not heard of it for long."""
    config = {"upload_expiry": 0.4, "sweep_interval": 0.05}

    async def slowly():
        for _ in range(20):
            yield b"x" * 10
            await asyncio.sleep(0.05)

    async with serving(root, config=config) as first:
        url = await create(first, 200, headers=named("a"))
        async with serving(root, config=config) as second:
            assert (await patch(first, url, 0, slowly())).status == 204
            assert second.published() == {"a": b"x" * 200}


@pytest.mark.parametrize("waiting", [False, True])
async def test_what_one_receives_the_other_cannot_terminate(root, waiting):
    """423, and it goes on; be it that the other one is waiting for it just then."""
    async with serving(root) as first, serving(root) as second:
        url = await create(first, 6, headers=named("a"))
        path = f"/tus/{job_id(url)}"
        await call(second, "HEAD", path)
        job, other = (server.jobs.get_live(UUID(job_id(url))) for server in (first, second))
        with held(b"123") as body:
            sending = asyncio.create_task(patch(first, url, 0, body))
            await eventually(lambda: job.bytes_done == 3)
            if waiting:
                asking = asyncio.create_task(call(second, "HEAD", path))
                await eventually(lambda: other.task is not None)
            assert (await call(second, "DELETE", f"/jobs/{job.id}")).status == 423
            if waiting:
                assert (await asking).status in (409, 423)
        assert (await sending).status == 204
        assert (await patch(second, path, 3, b"456")).status == 204
        assert first.published() == {"a": b"123456"}


async def test_what_one_has_completed_is_complete_for_the_other(root):
    """And stays so for the first."""
    async with serving(root) as old, serving(root) as new:
        url = await create(old, 3, headers=named("a"))
        path = f"/tus/{job_id(url)}"
        assert await offset(new, path) == 0
        assert (await patch(old, url, 0, b"123")).status == 204
        for server in (new, old):
            assert await offset(server, path) == 3
            assert server.jobs.live() == []


async def test_what_one_did_not_live_to_check_does_not_count_for_the_other(root):
    async with serving(root) as server:
        url = await create(server, 10, headers=named("a"))
        await patch(server, url, 0, b"123")
        begin_chunk_at(root, url, 3)
        with kept_file(root, url).open("ab") as file:
            file.write(b"garbage")
        assert await offset(server, url) == 3


async def test_a_published_file_is_not_opened_as_an_upload(root, monkeypatch):
    """By a server that had found it while it was one, and gets the lock when it is none any more."""
    lock, armed, opened, go = file_locks.lock, [False], threading.Event(), threading.Event()

    def slow(fd):
        if armed.pop():
            opened.set()
            go.wait(20)
        else:
            armed.append(False)
        return lock(fd)

    async with serving(root) as first, serving(root) as second:
        url = await create(first, headers={"Upload-Defer-Length": "1"} | named("a"))
        path = f"/tus/{job_id(url)}"
        assert await offset(second, path) == 0
        monkeypatch.setattr(file_locks, "lock", slow)
        armed[:] = [False, True]
        late = asyncio.create_task(patch(second, path, 3, b"evil"))
        await eventually(opened.is_set)
        assert (await patch(first, path, 0, b"abc", Upload_Length="3")).status == 204
        go.set()
        assert (await late).status == 413
        assert first.published() == {"a": b"abc"}


async def test_one_id_is_one_job(root):
    """One server has a job and another an upload of another owner under one id: neither hides or blocks the other."""
    async with (
        serving(root, authenticate=token_users) as first,
        serving(root, authenticate=token_users) as second,
    ):
        url = await create(first, 10, headers=as_user("alice"))
        upload = HeldUpload(second, as_user("bob") | {"Job-Id": job_id(url)})
        upload.send(part("b", b"x" * 1000)[:800])
        job = await upload.began(1)
        assert (await call(second, "HEAD", f"/tus/{job_id(url)}", as_user("bob"))).status == 404
        assert second.jobs.live() == [job]
        assert (await call(second, "HEAD", f"/tus/{job_id(url)}", as_user("alice"))).status == 200
        assert second.jobs.live("bob") == [job]
        upload.end()
        await asyncio.wait([upload.response])
        assert (await call(first, "HEAD", url, as_user("alice"))).status == 200


# Killed.


async def test_a_whole_whose_last_part_came_just_before_the_kill_is_made(root):
    """In whatever order they are found."""
    for number in range(4):
        where = root.with_name(f"root{number}")
        async with serving(where) as server:
            url = await create(server, 3, headers={"Upload-Concat": "partial"})
            await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{url}"} | named("whole"))
            kept_file(where, url).write_bytes(b"aaa")
        async with serving(where) as server:
            await eventually(lambda server=server: server.published() == {"whole": b"aaa"})


async def test_killed_in_the_middle_of_replacing_it_is_replaced_by_the_next(root):
    """What was put aside for that is no hindrance."""
    async with serving(root) as server:
        url = await create(server, 3, headers=named("a"))
        (root / "a").write_bytes(b"old")
        rewrite(root, url, on_conflict="replace")
        label = kept_file(root, url)
        label.write_bytes(b"new")
        os.link(root / "a", f"{label}.old")
        os.link(label, f"{label}.new")
    async with serving(root) as server:
        await eventually(lambda: server.published() == {"a": b"new"})
        await eventually(lambda: all(name.endswith(".json") for name in server.staged()))


async def test_killed_after_replacing_no_bytes_are_left(root):
    async with serving(root) as server:
        url = await create(server, 3, headers=named("a"))
        label = kept_file(root, url)
        label.write_bytes(b"new")
        (root / "a").write_bytes(b"old" * 1000)
        os.link(root / "a", f"{label}.old")
        os.unlink(root / "a")
        os.link(label, root / "a")
    async with serving(root) as server:
        await eventually(lambda: all(name.endswith(".json") for name in server.staged()))
        assert server.published() == {"a": b"new"}


async def test_what_a_killed_process_published_is_durable_before_that_is_told(root, monkeypatch):
    """It may not have come to syncing the directory (G3)."""
    synced, fsync = [], os.fsync

    def recorded(fd):
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        return fsync(fd)

    async with serving(root) as server, serving(root) as victim:
        url = await create(victim, 3, headers=named("a"))
        kept_file(root, url).write_bytes(b"abc")
        os.link(kept_file(root, url), root / "a")
        monkeypatch.setattr(os, "fsync", recorded)
        head = await call(server, "HEAD", f"/tus/{job_id(url)}")
        assert (head["Upload-Offset"], head["Upload-Expires"]) == ("3", None)
        assert str(root) in synced


@pytest.mark.parametrize("what", ["a record that cannot be read", "a full disk"])
async def test_one_upload_does_not_keep_the_server_down(root, monkeypatch, what):
    """It is said in the log, and the others go on."""
    async with serving(root) as server:
        good, other = await create(server, 3), await create(server, 3, headers=named("a"))
    if what == "a full disk":
        kept_file(root, other).write_bytes(b"abc")
        os.link(kept_file(root, other), root / "a")

        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(partial_file, "write_stored", full)
    else:
        record_file(root, other).unlink()
        record_file(root, other).symlink_to("/nowhere")
    async with serving(root) as server:
        assert await offset(server, f"/tus/{job_id(good)}") == 0


# The disk.


async def test_a_write_that_is_cut_short_by_a_full_disk_doubles_no_byte(root, monkeypatch):
    """By the time that the rest of it is kept there is room again."""
    write, left = os.write, []

    def cut_short(fd, data):
        if len(data) >= 1000 and len(left) < 2:
            left.append(len(data))
            if len(left) == 1:
                return write(fd, bytes(data)[:400])
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data)

    data = os.urandom(5000)
    async with serving(root) as server:
        url = await create(server, 5000, headers=named("a"))
        await patch(server, url, 0, data[:999])
        monkeypatch.setattr(staged.os, "write", cut_short)
        assert (await patch(server, url, 999, data[999:3000])).status == 507
        at = await offset(server, url)
        assert kept_file(root, url).read_bytes() == data[:at]


async def test_a_full_disk_at_the_last_step_loses_nothing(root, monkeypatch):
    """Every byte is there, and the name could not be given: it is when there is room."""
    write_stored, failed = partial_file.write_stored, []

    def full(disk, label, record, **options):
        if record.published is not None and not failed:
            failed.append(True)
            raise OSError(errno.ENOSPC, "full")
        return write_stored(disk, label, record, **options)

    monkeypatch.setattr(partial_file, "write_stored", full)
    async with serving(root) as server:
        url = await create(server, 3, headers=named("a"))
        assert (await patch(server, url, 0, b"abc")).status == 507
        assert server.published() == {}
        assert await offset(server, url) == 3
        assert server.published() == {"a": b"abc"}


async def test_the_sweeper_leaves_what_is_just_being_created(root, monkeypatch):
    """It saw the file before there was a record, and comes to it when its creator has let go."""
    write_stored, listed, created = partial_lookup.write_stored, threading.Event(), threading.Event()
    yielding = sweeper.yielding

    def slow(*args, **kwargs):
        listed.wait(20)
        return write_stored(*args, **kwargs)

    def watching(things):
        if isinstance(things, type({}.items())):
            listed.set()
            created.wait(20)
        return yielding(things)

    async with serving(root) as server:
        monkeypatch.setattr(partial_lookup, "write_stored", slow)
        monkeypatch.setattr(sweeper, "yielding", watching)
        making = asyncio.create_task(create(server, 10))
        await eventually(lambda: [name for name in server.staged() if name.endswith(".kept")])
        tidying = asyncio.create_task(server.storage.tidy())
        url = await making
        created.set()
        await tidying
        assert (await patch(server, url, 0, b"123")).status == 204


async def test_a_census_during_a_publication_counts_it_once(root, monkeypatch):
    write_stored, there, may = partial_file.write_stored, threading.Event(), threading.Event()

    def slow(disk, label, record, **options):
        if record.published is not None:
            there.set()
            may.wait(20)
        return write_stored(disk, label, record, **options)

    take_census, counted = local.take_census, threading.Event()

    def take(directory):
        census = take_census(directory)
        counted.set()
        return census

    async with serving(root, config={"quota": 1000}) as server:
        url = await create(server, 300, headers=named("a"))
        monkeypatch.setattr(partial_file, "write_stored", slow)
        monkeypatch.setattr(local, "take_census", take)
        sending = asyncio.create_task(patch(server, url, 0, b"x" * 300))
        await eventually(there.is_set)
        tidying = asyncio.create_task(server.storage.tidy())
        await eventually(counted.is_set)
        may.set()
        await tidying
        assert (await sending).status == 204
        assert server.storage.ledger.total == 300


async def test_a_host_that_is_no_text_begins_nothing(root):
    """It could not be told where its upload is."""
    async with serving(root) as server:
        for head in (
            "POST /tus/ HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 3\r\n",
            "POST /upload HTTP/1.1\r\nUpload-Complete: ?0\r\nUpload-Draft-Interop-Version: 9\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write((head + "Host: h\xff\r\nContent-Length: 0\r\n\r\n").encode("latin-1"))
            got = await asyncio.wait_for(reader.read(200), 20)
            assert b" 400 " in got
            writer.close()
        assert (server.jobs.live(), server.staged()) == ([], [])
