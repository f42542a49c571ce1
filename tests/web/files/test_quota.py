"""Quotas and free space: refused before the body where the length tells, else when the bytes are too many; final, and
nothing left. Bytes on their way count, and are free again however their upload ends."""

import asyncio
import os
from typing import NamedTuple

import pytest

from headgate.storage import LocalStorage
from headgate.storage.local.disk import disk as disk_module
from support import FORM, HeldUpload, as_user, eventually, file_form, form, part, serving, token_users

QUOTA = 1_000_000


@pytest.fixture(params=["quota", "quota_per_owner"])
def limit(request):
    return request.param


def limited(root, **config):
    return serving(root, authenticate=token_users, config=config)


async def upload(server, name, size, user="alice", *, chunked=False, query=""):
    body = file_form(name, b"x" * size)

    async def pieces():
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    data = pieces() if chunked else body
    async with server.client.post(f"{server.url}/upload{query}", data=data, headers=FORM | as_user(user)) as response:
        return response.status, (await response.json(content_type=None)).get("code")


FULL = (507, "quota-exceeded")


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_quota_is_kept_to_the_byte(root, limit, chunked):
    """Exactly as much as it says fits; one byte more is refused with nothing left, and stays refused."""
    async with limited(root, **{limit: QUOTA}) as server:
        assert await upload(server, "over", QUOTA + 1, chunked=chunked) == FULL
        assert server.published() == {}
        assert server.staged() == []
        assert (await upload(server, "a", QUOTA - 10, chunked=chunked))[0] == 201
        assert await upload(server, "b", 11, chunked=chunked) == FULL
        assert (await upload(server, "b", 10, chunked=chunked))[0] == 201
        assert await upload(server, "c", 1, chunked=chunked) == FULL
        assert (await upload(server, "empty", 0, chunked=chunked))[0] == 201


async def test_the_files_of_one_form_count_together(root, limit):
    async with limited(root, **{limit: QUOTA}) as server:
        for over, status in ((1, 507), (0, 201)):
            body = form(part("a", b"x" * (QUOTA // 2)), part("b", b"x" * (QUOTA // 2 + over)))
            async with server.client.post(
                server.url + "/upload", data=body, headers=FORM | as_user("alice")
            ) as response:
                assert response.status == status
        assert server.staged() == []


async def test_owners_do_not_use_up_each_others_quota_but_all_share_the_whole(root):
    async with limited(root, quota=1500, quota_per_owner=1000) as server:
        assert (await upload(server, "a", 1000, "alice"))[0] == 201
        assert await upload(server, "b", 1, "alice") == FULL
        assert (await upload(server, "b", 500, "bob"))[0] == 201
        assert await upload(server, "c", 1, "bob") == FULL


async def test_a_length_that_cannot_fit_is_refused_before_the_body(root, limit):
    """Nothing of the body is asked for: `100 Continue` is never sent."""
    async with limited(root, **{limit: QUOTA}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /upload HTTP/1.1\r\nHost: localhost\r\nX-User: alice\r\nExpect: 100-continue\r\n"
            + f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {QUOTA + 300_000}\r\n\r\n".encode()
        )
        assert (await reader.readline()).split()[1] == b"507"
        writer.close()
        await writer.wait_closed()


async def test_bytes_on_their_way_count(root, limit):
    """Uploads that each fit cannot jointly pass the quota, whether their length is known or not."""
    async with limited(root, **{limit: QUOTA}) as server:
        held = HeldUpload(server, as_user("alice"))
        held.send(part("a", b"x" * 600_000))
        await held.began(500_000)
        assert await upload(server, "b", 500_000) == FULL
        assert await upload(server, "b", 500_000, chunked=True) == FULL
        held.end()
        await held.response


@pytest.mark.parametrize("end", ["terminate", "disconnect", "malformed", "refused"])
async def test_the_quota_is_free_again_however_an_upload_ends(root, limit, end):
    """At the answer of the terminate, or as soon as the job has ended."""

    async def on_received(job, files):
        raise ValueError("never")

    config = {limit: QUOTA}
    async with serving(root, authenticate=token_users, config=config, on_received=on_received) as server:
        ledger = server.storage.ledger
        held = HeldUpload(server, as_user("alice"))
        held.send(part("a", b"x" * 600_000))
        job = await held.began(500_000)
        assert ledger.total >= 500_000
        if end == "terminate":
            async with server.client.delete(f"{server.url}/jobs/{job.id}", headers=as_user("alice")) as response:
                assert response.status == 200
        elif end == "disconnect":
            held.response.cancel()
        else:
            held.send(b"no boundary" if end == "malformed" else form())
            held.end()
        if end != "terminate":
            await eventually(lambda: not server.jobs.live(), "the end of the job")
        assert (ledger.total, ledger.owned("alice")) == (0, 0)


async def test_what_is_there_at_the_start_counts_and_for_its_owner(root):
    """Owners are remembered with the files; a file that was put there by hand counts for the quota of all."""
    async with limited(root) as server:
        assert (await upload(server, "a", 700, "alice"))[0] == 201
    (root / "by hand").write_bytes(b"x" * 100)
    async with limited(root, quota_per_owner=1000) as server:
        assert await upload(server, "b", 400, "alice") == FULL
        assert (await upload(server, "b", 300, "alice"))[0] == 201
        assert (await upload(server, "c", 1000, "bob"))[0] == 201
    async with limited(root, quota=2101) as server:
        assert await upload(server, "d", 2) == FULL
        assert (await upload(server, "d", 1))[0] == 201


async def test_replacing_a_file_frees_what_it_had(root):
    """The old file counts until the new one has its name, and then no more."""
    async with limited(root, quota_per_owner=1000) as server:
        assert (await upload(server, "a", 600, "alice"))[0] == 201
        assert await upload(server, "a", 600, "alice", query="?on_conflict=replace") == FULL
        assert (await upload(server, "a", 300, "bob", query="?on_conflict=replace"))[0] == 201
        assert (server.storage.ledger.owned("alice"), server.storage.ledger.owned("bob")) == (0, 300)
        assert (await upload(server, "b", 1000, "alice"))[0] == 201


async def test_what_is_removed_by_hand_is_free_after_the_next_count(root, limit):
    async with limited(root, **{limit: 1000}) as server:
        assert (await upload(server, "a", 1000))[0] == 201
        (root / "a").unlink()
        await server.storage.tidy()
        assert (await upload(server, "b", 1000))[0] == 201


async def test_a_file_system_that_cannot_name_owners_is_refused_only_where_that_is_needed(root, monkeypatch):
    def setxattr(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", setxattr)
    async with limited(root, quota=1000) as server:
        assert (await upload(server, "a", 1000))[0] == 201
    with pytest.raises(Exception, match="extended attributes"):
        async with limited(root, quota_per_owner=1000):
            pytest.fail("started")


async def test_owners_with_the_longest_names_have_their_quota_too(root):
    """Names that no attribute can hold are told apart all the same, after a restart as before."""
    names = ["a" * 4000 + "1", "a" * 4000 + "2", "é" * 200]
    for quota in (1000, 1500):
        async with limited(root, quota_per_owner=quota) as server:
            for name in names:
                headers = FORM | {"X-User": name}
                status = {}
                for size in (quota - 500 + 1, 500):
                    data = file_form(f"{names.index(name)}-{quota}-{size}", b"x" * (size if quota > 1000 else size - 1))
                    async with server.client.post(server.url + "/upload", data=data, headers=headers) as response:
                        status[size] = response.status
                assert list(status.values()) == ([201, 201] if quota == 1000 else [507, 201])


@pytest.fixture
def disk(root, monkeypatch):
    """A disk of 5 MB, all of it for the root; one may take some of it away."""

    class Status(NamedTuple):
        f_bavail: int
        f_frsize: int = 1

    others = [0]

    def statvfs(fd):
        ours = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        return Status(5_000_000 - ours - others[0])

    monkeypatch.setattr(disk_module.os, "statvfs", statvfs)
    return others


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_disk_keeps_what_is_to_stay_free(root, disk, chunked):
    """507 storage-full while it would have less, and nothing left; 201 once there is room again."""
    async with limited(root, min_free=4_500_000) as server:
        assert (await upload(server, "a", 100_000, chunked=chunked))[0] == 201
        assert await upload(server, "b", 500_000, chunked=chunked) == (507, "storage-full")
        assert server.staged() == []
        disk[0] -= 200_000
        assert (await upload(server, "b", 500_000, chunked=chunked))[0] == 201


@pytest.mark.parametrize("chunked", [False, True])
async def test_uploads_on_their_way_cannot_jointly_fill_the_disk(root, disk, chunked):
    """What one was promised, another cannot have, though it is not written yet."""
    async with limited(root, min_free=4_000_000) as server:
        held = HeldUpload(server, as_user("alice") | ({} if chunked else {"Content-Length": "700000"}))
        held.send(part("a", b"x" * 100_000))
        job = await held.began(50_000)
        assert await upload(server, "b", 900_000 if chunked else 500_000, "bob") == (507, "storage-full")
        async with server.client.delete(f"{server.url}/jobs/{job.id}", headers=as_user("alice")) as response:
            assert response.status == 200
        assert (await upload(server, "b", 900_000, "bob"))[0] == 201


async def test_a_storage_without_limits_asks_the_disk_only_now_and_then(root, monkeypatch):
    """Many small uploads in a row cost it one look."""
    looks = []
    real = os.statvfs
    monkeypatch.setattr(disk_module.os, "statvfs", lambda fd: looks.append(fd) or real(fd))
    monkeypatch.setattr("headgate.storage.local.incoming.reserving.time.monotonic", lambda: 100.0)
    async with limited(root) as server:
        for number in range(20):
            assert (await upload(server, f"f{number}", 10))[0] == 201
        assert len(looks) == 1
        assert isinstance(server.storage, LocalStorage)
