"""What becomes of files on their way out and in: members of a zip, numbered names, and a staging room that is gone."""

import asyncio
import io
import os
import shutil
import stat
import time
import zipfile

import pytest

import tus
from support import PATIENCE, eventually, serving


async def zipped(server, *names, **options):
    async with server.client.post(server.url + "/export", json={"filenames": names} | options) as response:
        assert response.status == 200
        return zipfile.ZipFile(io.BytesIO(await response.read()))


@pytest.mark.parametrize("compress", [False, True])
async def test_what_is_unpacked_may_be_read_and_has_its_own_time(server, root, compress):
    """Not what a private file has, nor the time of the export; and a file of any time can be in a zip."""
    when = {"old": 981_173_106, "older": -157_766_400, "latest": 300_000_000_000}
    for name, seconds in when.items():
        (root / name).write_bytes(b"12345")
        os.utime(root / name, (seconds, seconds))
    (root / "old").chmod(0o600)
    with await zipped(server, *when, compress=compress) as archive:
        assert archive.testzip() is None
        members = {info.filename: info for info in archive.infolist()}
    for info in members.values():
        mode = info.external_attr >> 16
        assert stat.S_IMODE(mode) == 0o644
        assert stat.S_IFMT(mode) in (stat.S_IFREG, 0)
    # A zip's time has no zone, and no odd seconds.
    assert members["old"].date_time in (time.gmtime(981_173_106)[:6], time.localtime(981_173_106)[:6])
    for name in ("older", "latest"):
        assert 1980 <= members[name].date_time[0] <= 2107


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("archive.tar.gz", "archive (1).tar.gz"),
        ("ARCHIVE.TAR.GZ", "ARCHIVE (1).TAR.GZ"),
        ("data.tar.bz2", "data (1).tar.bz2"),
        ("data.tar.xz", "data (1).tar.xz"),
        ("data.tar.zst", "data (1).tar.zst"),
        ("1.2.tar.gz", "1.2 (1).tar.gz"),
        ("Report v1.2 final", "Report v1.2 final (1)"),
        ("Dr. Who", "Dr. Who (1)"),
        ("No. 5 and more", "No. 5 and more (1)"),
    ],
)
async def test_a_number_goes_before_all_of_the_suffix(server, name, second):
    """Two suffixes are one where one is of no use alone, and what has a space is none."""
    for _ in range(2):
        assert (await server.upload(name, b"", params={"on_conflict": "rename"})).status == 201
    assert set(server.published()) == {name, second}


async def done(ask, status):
    """Ask until `status` is answered, for as long as patience lasts."""
    deadline = time.monotonic() + PATIENCE / 4
    while (answer := await ask()) != status:
        assert time.monotonic() < deadline, f"{answer}, and never {status}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("call", ["small form", "large form", "put", "replace", "tus", "ietf", "delete"])
async def test_a_staging_room_that_is_gone_is_made_again(root, regime, call):
    """Without a restart: what is begun afterwards is published, or removed, as ever."""
    config = {"sweep_interval": 0.05}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        (root / "there").write_bytes(b"there")
        shutil.rmtree(root / ".staging")
        large = os.urandom(1_000_000)

        async def ask():
            if call.endswith("form"):
                data = b"small" if call == "small form" else large
                return (await server.upload("new", data)).status
            if call == "tus":
                headers = tus.named("new") | tus.BYTES | {"Upload-Length": str(len(large))}
                return (await tus.call(server, "POST", "/tus/", headers, data=large)).status
            method, path, headers = {
                "put": ("PUT", "/files/new", {}),
                "replace": ("PUT", "/files/there", {}),
                "ietf": ("POST", "/upload?filename=new", {"Upload-Complete": "?1"}),
                "delete": ("DELETE", "/files/there", {}),
            }[call]
            data = None if call == "delete" else large
            async with server.client.request(method, server.url + path, headers=headers, data=data) as response:
                return response.status

        await done(ask, {"delete": 204, "replace": 200}.get(call, 201))
        assert "there" in server.published() or call == "delete"
        await eventually((root / ".staging").is_dir, "the staging room")
        assert server.staged() == [] or call in ("tus", "ietf")
        assert stat.S_IMODE((root / ".staging").stat().st_mode) == 0o700
