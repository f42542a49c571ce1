"""Files that other programs put into the root, or took out of it: served if possible, and never an obstacle."""

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from e2e.conftest import running
from support import PATIENCE, require, serving

#: A process that may no more than its user may, were this the superuser's.
PLAIN = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def root(tmp_path):
    """On a file system that keeps every time, if there is one: not all do."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as directory:
        yield Path(directory) / "root"


@pytest.fixture
async def server(root):
    async with serving(root, config={"min_free": 0}) as server:  # what is in memory may be small
        yield server


async def call(server, method, path, client=None, **options):
    async with (client or server.client).request(method, server.url + path, **options) as response:
        return response.status, await response.read()


async def listed(server, query=""):
    async with server.client.get(f"{server.url}/files{query}") as response:
        assert response.status == 200
        return await response.json()


def plain(root):
    """A server that may do no more than its user may."""
    superuser = os.geteuid() == 0
    require("setpriv", not superuser or shutil.which("setpriv") is not None)
    return running(root, "--min-free", "0", launcher=PLAIN if superuser else ())


async def until(ask, status):
    """Ask until `status` is answered, or for as long as patience lasts; the last answer."""
    for _ in range(int(PATIENCE / 0.05)):
        answer = await ask()
        if answer[0] == status:
            break
        await asyncio.sleep(0.05)
    return answer


def dated(path, seconds, data=b"12345"):
    path.write_bytes(data)
    os.utime(path, (seconds, seconds))
    require("file system with such times", os.stat(path).st_mtime == seconds)


TIMES = {"the year 11476": 300_000_000_000, "1965": -157_766_400, "before Christ": -100_000_000_000}


@pytest.mark.parametrize("when", TIMES)
async def test_a_file_of_any_time_is_served_and_removed(server, root, when):
    """And hides no other from a list."""
    (root / "other").write_bytes(b"")
    dated(root / "x", TIMES[when])
    for query in ("", "?sort=modified", "?sort=-modified", "?sort=size", "?sort=modified&limit=1"):
        files = (await listed(server, query))["files"]
        assert {file["name"] for file in files} in ({"x", "other"}, {"x"}, {"other"})
        assert all(len(file["modified_at"]) == len("2026-01-01T00:00:00.000Z") for file in files)
    assert (await call(server, "HEAD", "/files/x"))[0] == 200
    assert await call(server, "GET", "/files/x") == (200, b"12345")
    assert await call(server, "GET", "/files/x", headers={"Range": "bytes=-2"}) == (206, b"45")
    assert await call(server, "POST", "/export", json={"filename": "x"}) == (200, b"12345")
    assert (await call(server, "POST", "/export", json={"filenames": ["x", "other"]}))[0] == 200
    cursor = (await listed(server, "?sort=modified&limit=1"))["next"]
    rest = await listed(server, f"?sort=modified&limit=1&after={quote(cursor, safe='')}")
    assert len(rest["files"]) == 1
    assert (await call(server, "PUT", "/files/x", data=b"new", headers={"If-Match": "*"}))[0] == 200
    dated(root / "x", TIMES[when])
    assert (await call(server, "DELETE", "/files/x"))[0] == 204
    assert (await listed(server))["files"][0]["name"] == "other"


@pytest.mark.parametrize("sort", ["modified", "-modified"])
async def test_a_list_goes_on_wherever_it_has_ended(server, root, sort):
    """Every place that was told is taken: before 1970, at its very beginning, and long after."""
    wanted = []
    for number, seconds in enumerate([-100_000_000_000, -157_766_400, -1, 0, 1, 10**9, 300_000_000_000]):
        dated(root / f"f{number}", seconds)
        wanted.append(f"f{number}")
    got, query = [], f"?sort={sort}&limit=1"
    while query:
        page = await listed(server, query)
        got += [file["name"] for file in page["files"]]
        query = page["next"] and f"?sort={sort}&limit=1&after={quote(page['next'], safe='')}"
    assert got == wanted[:: -1 if sort.startswith("-") else 1]


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": '"x"'}])
async def test_a_directory_is_not_replaced(server, root, headers):
    """The name is taken, and not by what a condition could speak of; what is in it stays."""
    (root / "directory").mkdir()
    (root / "directory" / "a").write_bytes(b"a")
    status, body = await call(server, "PUT", "/files/directory", data=b"new", headers=headers)
    assert (status, b"name-taken" in body) == (409, True)
    assert (root / "directory" / "a").read_bytes() == b"a"
    assert server.staged() == []


USUAL = {"name", "size", "modified_at", "etag", "generated"}


async def test_a_file_that_may_not_be_read_is_not_offered_and_can_be_removed(root):
    """403 where it is asked for, no error of ours; and not listed as what can be had."""
    async with plain(root) as server, ClientSession() as client:
        (root / "locked").write_bytes(b"secret")
        (root / "locked").chmod(0)
        (root / "plain").write_bytes(b"")
        for method, path, body in (
            ("GET", "/files/locked", None),
            ("HEAD", "/files/locked", None),
            ("POST", "/export", {"filename": "locked"}),
        ):
            status, text = await call(server, method, path, client, json=body)
            assert status == 403, (method, path)
            assert method == "HEAD" or json.loads(text)["status"] == 403
        async with client.get(server.url + "/files") as response:
            files = {file["name"]: file for file in (await response.json())["files"]}
        assert "locked" not in files or set(files["locked"]) - USUAL
        assert "plain" in files
        assert (await call(server, "DELETE", "/files/locked", client))[0] == 204
        assert not (root / "locked").exists()


async def test_a_zip_of_what_may_not_be_read_is_refused_before_its_first_byte(root):
    """As one of what is not there is."""
    async with plain(root) as server, ClientSession() as client:
        for name in ("plain", "locked"):
            (root / name).write_bytes(b"12345")
        (root / "locked").chmod(0)
        status, text = await call(server, "POST", "/export", client, json={"filenames": ["plain", "locked"]})
        assert (status, json.loads(text)["status"]) == (403, 403)


async def test_readiness_tells_that_nothing_can_be_written(root):
    """503 with the reason while the root is read-only, alive all the while, and ready again afterwards."""
    async with plain(root) as server, ClientSession() as client:

        async def ready():
            return await call(server, "GET", "/readyz", client)

        assert (await ready())[0] == 200
        root.chmod(0o555)
        status, body = await until(ready, 503)
        assert status == 503
        assert json.loads(body)["detail"]
        assert (await call(server, "GET", "/healthz", client))[0] == 200
        root.chmod(0o700)
        assert (await until(ready, 200))[0] == 200
