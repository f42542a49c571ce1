"""POST /export of several files: a zip, made as it is sent, and a job like any other."""

import asyncio
import io
import itertools
import os
import zipfile

import aiohttp
import pytest

from headgate import State
from headgate.storage import LocalStorage
from support import eventually, serving

FILES = {"a.txt": b"a" * 1000, "ä b.bin": os.urandom(700_000), "empty": b""}


async def rows():
    yield b"row\n"


@pytest.fixture
async def server(root, regime):
    async with serving(
        root, handler_cancellation=regime, exports={"rows.csv": rows}, config={"max_files": 5}
    ) as server:
        for name, data in FILES.items():
            (root / name).write_bytes(data)
        yield server


async def export(server, **kwargs):
    async with server.client.post(server.url + "/export", **kwargs) as response:
        return response.status, response.headers, await response.read()


def content(body):
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("compress", [False, True])
async def test_several_files_come_as_a_zip(server, compress):
    """All of them whole, under their names, in the order that was asked for; the job counts the zip's bytes."""
    status, headers, body = await export(server, json={"filenames": list(FILES), "compress": compress})
    assert (status, headers["Content-Type"]) == (200, "application/zip")
    assert 'filename="files.zip"' in headers["Content-Disposition"]
    assert list(content(body).items()) == list(FILES.items())
    (job,) = server.infos()
    assert (job.state, job.names, job.bytes_done) == (State.COMPLETED, tuple(FILES), len(body))
    assert job.bytes_total == (None if compress else len(body))
    assert (len(body) < 701_000) == compress


async def test_a_form_asks_for_one_too(server):
    """What a browser sends without a script: the field as often as there are files."""
    fields = [("filenames", "a.txt"), ("filenames", "empty"), ("compress", "true")]
    status, _, body = await export(server, data=fields)
    assert (status, content(body)) == (200, {"a.txt": FILES["a.txt"], "empty": b""})


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"filenames": []}, 400, "malformed-request"),
        ({"filenames": "a.txt"}, 400, "malformed-request"),
        ({"filenames": ["a.txt", 5]}, 400, "malformed-request"),
        ({"filenames": ["a.txt", "a.txt"]}, 422, "invalid-option"),
        ({"filenames": ["a.txt", "rows.csv"]}, 422, "invalid-option"),
        ({"filenames": ["a.txt"], "compress": "much"}, 422, "invalid-option"),
        ({"filenames": ["a.txt", "../x"]}, 422, "invalid-name"),
        ({"filenames": ["a.txt", "nothing"]}, 404, "no-such-file"),
        ({"filenames": ["a", "b", "c", "d", "e", "f"]}, 413, "too-large"),
    ],
)
async def test_what_cannot_be_a_zip_is_refused_before_its_first_byte(server, wanted, status, code):
    got, _, body = await export(server, json=wanted)
    assert (got, code in body.decode()) == (status, True)
    assert not server.infos()


async def test_a_zip_is_held_and_ended_like_any_other_export(server, root):
    """Paused, nothing is made; terminated, it looks broken, and every file is let go."""
    (root / "big").write_bytes(os.urandom(1 << 20) * 100)

    def open_files():
        return sum(
            os.readlink(f"/proc/self/fd/{fd}").endswith("/big") for fd in os.listdir("/proc/self/fd") if _is_link(fd)
        )

    async with server.client.post(server.url + "/export", json={"filenames": ["big", "a.txt"]}) as response:
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done)
        job.pause()
        await eventually(lambda: not job.gate.open)
        assert open_files() == 1
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    await eventually(lambda: open_files() == 0, "the close of the file")


def _is_link(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")


async def test_a_zip_of_a_file_that_shrinks_looks_broken(server, root):
    """And the job says why."""
    (root / "big").write_bytes(os.urandom(1 << 20) * 50)
    async with server.client.post(server.url + "/export", json={"filenames": ["big"]}) as response:
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done)
        os.truncate(root / "big", 1000)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert (job.state, job.reason) == (State.FAILED, "storage-failed")


async def test_a_zip_of_a_file_that_was_just_replaced_is_asked_for_again(server, root, monkeypatch):
    """It was looked at, and is another when the zip comes to it: a conflict, and no fault of the server's."""
    real, times = LocalStorage.open, itertools.count()

    async def open_(storage, name):
        if next(times):  # it has been looked at
            (root / "next").write_bytes(b"another")
            os.replace(root / "next", root / name)
        return await real(storage, name)

    monkeypatch.setattr(LocalStorage, "open", open_)
    async with server.client.post(server.url + "/export", json={"filenames": ["a.txt"]}) as response:
        assert (response.status, (await response.json())["code"]) == (409, "file-changed")


async def test_many_zips_at_once_are_all_whole(server):
    """More of them than there are threads to make them."""
    bodies = await asyncio.gather(*(export(server, json={"filenames": list(FILES)}) for _ in range(20)))
    assert all(content(body) == FILES for _, _, body in bodies)
