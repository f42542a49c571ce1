"""GET /files and DELETE /files/{name}."""

import asyncio
import errno
import os
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

import headgate.storage.local.catalog.catalog
from headgate.storage.local import local_storage as local
from support import PATIENCE, as_user, eventually, serving, token_users


async def rows():
    yield b"row"


async def listed(server, query="", **kwargs):
    async with server.client.get(server.url + "/files" + query, **kwargs) as response:
        return response.status, await response.json(content_type=None)


async def names(server, query=""):
    status, body = await listed(server, query)
    assert status == 200
    return [file["name"] for file in body["files"]], body["next"]


async def delete(server, name, **kwargs):
    async with server.client.delete(f"{server.url}/files/{quote(name, safe='')}", **kwargs) as response:
        return response.status, await response.read()


async def test_what_is_published_is_listed(server):
    """Name, bytes, and when; nothing that is on its way."""
    await server.upload("b.txt", b"12345")
    (told,) = (await listed(server))[1]["files"]
    assert told["name"] == "b.txt"
    assert (told["size"], told["generated"]) == (5, False)
    assert datetime.now(UTC) - datetime.fromisoformat(told["modified_at"]) < timedelta(minutes=1)


async def test_generated_exports_come_first(root):
    async with serving(root, exports={"z.csv": rows, "y.csv": rows}) as server:
        await server.upload("a", b"")
        status, body = await listed(server, "?limit=1")
        assert status == 200
        assert [file["name"] for file in body["files"]] == ["y.csv", "z.csv", "a"]
        assert body["files"][0] == {"name": "y.csv", "size": None, "modified_at": None, "etag": None, "generated": True}
        assert await names(server, "?after=a") == ([], None)


@pytest.mark.parametrize("sort", ["name", "-name", "size", "-size", "modified", "-modified"])
async def test_a_list_may_be_sorted_and_still_comes_in_pages(server, root, sort):
    """``next`` goes on where a page ended, in every order."""
    for number, name in enumerate(["b", "a", "c:d", "ä"]):
        (root / name).write_bytes(b"x" * (number // 2))
        os.utime(root / name, (10**9 - number, 10**9 - number))
    right = {"name": ["a", "b", "c:d", "ä"], "size": ["a", "b", "c:d", "ä"], "modified": ["ä", "c:d", "a", "b"]}
    wanted = right[sort.removeprefix("-")][:: -1 if sort.startswith("-") else 1]
    got, query = [], f"?sort={sort}&limit=1"
    while query:
        some, after = await names(server, query)
        got += some
        query = after and f"?sort={sort}&limit=1&after={quote(after, safe='')}"
    assert got == wanted


@pytest.mark.parametrize("query", ["?sort=x", "?sort=", "?sort=--size", "?sort=size&after=x", "?sort=size&after=-1:a"])
async def test_an_order_that_is_none_is_refused(server, query):
    assert (await listed(server, query))[0] == 422


async def test_a_long_list_comes_in_pages_by_name(server, root):
    """In the order of the names' bytes; each name once, whatever comes and goes between two pages."""
    wanted = [*sorted((f"f {number}" for number in range(25)), key=str.encode), "ä", "漢"]
    for name in reversed(wanted):
        (root / name).write_bytes(b"")
    got, after = [], ""
    while True:
        page, after = await names(server, f"?limit=10{f'&after={quote(after)}' if after else ''}")
        assert len(page) <= 10
        got += page
        if after is None:
            break
        (root / after).unlink()  # the place in the list is a name, whether it is there or not
    assert got == wanted


async def test_a_page_has_at_most_what_is_configured(root):
    async with serving(root, config={"max_files_listed": 3}) as server:
        for name in "abcd":
            (root / name).write_bytes(b"")
        assert await names(server) == (["a", "b", "c"], "c")
        assert await names(server, "?limit=100") == (["a", "b", "c"], "c")
        assert await names(server, "?limit=4&after=c") == (["d"], None)


async def test_what_nobody_could_ask_for_is_not_listed(server, root, tmp_path):
    """Hidden, not text, no regular file, a link: put there by hand, they are nothing of ours."""
    (tmp_path / "outside").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "directory").mkdir()
    (root / ".hidden").write_bytes(b"")
    (root / "a\x07b").write_bytes(b"")
    os.mkfifo(root / "pipe")
    os.mknod(os.fsencode(root) + b"/\xff\xfe")
    (root / "plain").write_bytes(b"")
    assert await names(server) == (["plain"], None)


async def test_a_list_is_whole_though_files_go_while_it_is_made(server, root, monkeypatch):
    """Fewer than a page means that there are no more."""
    for number in range(10):
        (root / f"f{number}").write_bytes(b"")
    real = headgate.storage.local.catalog.catalog.stat_published

    def look(disk, name):
        if name in ("f0", "f1"):
            (root / name).unlink(missing_ok=True)
        return real(disk, name)

    monkeypatch.setattr(headgate.storage.local.catalog.catalog, "stat_published", look)
    assert await names(server, "?limit=3") == (["f2", "f3", "f4"], "f4")


async def test_a_file_under_the_name_of_a_generated_export_is_not_listed(root):
    async with serving(root, exports={"rows.csv": rows}) as server:
        for name in ("a", "rows.csv", "z"):
            (root / name).write_bytes(b"")
        _, body = await listed(server)
        assert [(file["name"], file["generated"]) for file in body["files"]] == [
            ("rows.csv", True),
            ("a", False),
            ("z", False),
        ]


async def test_what_could_not_be_deleted_takes_no_name_from_anybody(server, root, monkeypatch):
    """A file that is put back, because its removal is not durable, does not replace what was published meanwhile."""
    (root / "a").write_bytes(b"old")
    real = os.fsync

    def failing(fd):
        if os.path.isdir(f"/proc/self/fd/{fd}") and not (root / "a").exists():
            (root / "a").write_bytes(b"new")
            raise OSError(errno.EIO, "broken")
        real(fd)

    monkeypatch.setattr(os, "fsync", failing)
    assert (await delete(server, "a"))[0] == 500
    assert server.published() == {"a": b"new"}
    assert server.staged() == []


@pytest.mark.parametrize("query", ["?limit=0", "?limit=-1", "?limit=x", "?limit=1.5", "?limit=", "?limit=9999999999"])
async def test_a_limit_that_is_none_is_refused(server, query):
    status, body = await listed(server, query)
    assert (status, body["code"]) == (422, "invalid-option")


@pytest.mark.parametrize("query", ["?after=..%2Fx", "?after=%00", "?after=.x"])
async def test_a_place_in_the_list_is_a_name(server, query):
    status, body = await listed(server, query)
    assert (status, body["code"]) == (422, "invalid-name")


async def test_a_deleted_file_is_gone(server):
    """204, with no name and no bytes left; a second time there is nothing to delete."""
    await server.upload("a b/ä?".replace("/", "-"), b"x")
    assert await delete(server, "a b-ä?") == (204, b"")
    assert server.published() == {}
    status, _ = await delete(server, "a b-ä?")
    assert status == 404


@pytest.mark.parametrize("name", ["../x", ".staging", "a/b", "%00", "..", "x" * 256])
async def test_only_a_name_is_deleted(server, root, name):
    """Refused as everywhere else; nothing outside the root, and nothing staged, is touched."""
    outside = root.parent / "x"
    outside.write_bytes(b"")
    status, _ = await delete(server, name.replace("%00", "\0"))
    assert status in (404, 405, 422)
    assert outside.exists()
    assert (root / ".staging").exists()


async def test_what_is_no_file_is_not_deleted(server, root, tmp_path):
    (tmp_path / "outside").write_bytes(b"")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "directory").mkdir()
    for name in ("link", "directory"):
        assert (await delete(server, name))[0] == 404
        assert (root / name).is_symlink() or (root / name).is_dir()


async def test_a_generated_export_is_not_deleted(root):
    async with serving(root, exports={"rows.csv": rows}) as server:
        assert (await delete(server, "rows.csv"))[0] == 404


async def test_an_export_of_a_deleted_file_goes_on(server, root):
    """Whoever is getting it gets all of it."""
    data = os.urandom(30_000_000)
    (root / "big").write_bytes(data)
    async with server.client.post(server.url + "/export", json={"filename": "big"}) as response:
        assert (await delete(server, "big"))[0] == 204
        assert not (root / "big").exists()
        assert await response.read() == data


async def test_deleting_frees_the_quota_of_whoever_had_it(root):
    config = {"quota_per_owner": 1000, "quota": 1500}
    async with serving(root, config=config, authenticate=token_users) as server:
        assert (await server.upload("a", b"x" * 900, headers=as_user("alice"))).status == 201
        assert (await server.upload("b", b"x" * 900, headers=as_user("alice"))).status == 507
        assert (await delete(server, "a", headers=as_user("bob")))[0] == 204
        assert server.storage.ledger.total == 0
        assert (await server.upload("b", b"x" * 900, headers=as_user("alice"))).status == 201


async def test_deleting_while_it_is_counted_counts_once(root):
    async with serving(root, config={"quota": 10**6}) as server:
        for number in range(300):
            (root / f"f {number}").write_bytes(b"x" * 10)
        await server.storage.tidy()
        counting = asyncio.create_task(server.storage.tidy())
        for number in range(0, 300, 3):
            await delete(server, f"f {number}")
        await counting
        await eventually(lambda: server.storage.ledger.total == 2000)


async def test_a_file_that_is_gone_before_it_is_counted_is_taken_off_once(root, monkeypatch):
    """The count did not see it, and ends before the ledger is told that it is gone."""
    removed, counted, ended = (threading.Event() for _ in range(3))

    def remove(*arguments):
        result = real_remove(*arguments)
        removed.set()
        assert counted.wait(PATIENCE)
        ended.wait(0.2)  # which it cannot, before this is told
        return result

    def take_census(directory):
        assert removed.wait(PATIENCE)
        census = real_census(directory)
        counted.set()
        return census

    async with serving(root, config={"quota": 10**6}) as server:
        assert (await server.upload("a", b"x" * 1000)).status == 201
        assert (await server.upload("b", b"x" * 1000)).status == 201
        real_remove, real_census = local.remove, local.take_census
        ledger = server.storage.ledger
        real_end = ledger.end_census
        monkeypatch.setattr(local, "remove", remove)
        monkeypatch.setattr(local, "take_census", take_census)
        monkeypatch.setattr(ledger, "end_census", lambda *told: (real_end(*told), ended.set()))
        await asyncio.gather(server.storage.tidy(), delete(server, "a"))
        assert ledger.total == 1000


async def test_strangers_neither_list_nor_delete(team):
    await team.upload("a", b"x", headers=as_user("alice"))
    assert (await listed(team))[0] == 401
    assert (await delete(team, "a"))[0] == 401
    assert team.published() == {"a": b"x"}
