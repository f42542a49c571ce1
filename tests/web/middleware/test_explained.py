"""A refusal for want of room says how much was wanted and how much there is, as people read it."""

import asyncio
import io
import json
import os
import re
import sys

import pytest

from support import FORM, as_user, serving, token_users
from tus import VERSION

MIB = 1024 * 1024
UNITS = {"B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
UNITS |= {"KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB, "TiB": MIB * MIB}


def sizes(text):
    """The sizes in it, in bytes."""
    found = re.findall(r"(\d+(?:[.,]\d+)?)[ \u00a0](bytes|[kKMGT]?i?B)\b", text)
    return [float(number.replace(",", ".")) * UNITS.get(unit, 1) for number, unit in found]


def tells(text, *expected, within=0.03):
    """It tells each of these sizes, and no number that people would have to count the digits of."""
    assert not re.search(r"\d{6,}", text), text
    for size in expected:
        assert any(abs(told - size) <= within * size + 1 for told in sizes(text)), (size, text)


WAYS = ["a form", "a file", "tus", "the draft"]


async def declare(server, way, size, **headers):
    """An upload of `size` bytes, of which none is sent: its refusal."""
    match way:
        case "a form":
            asked = ("POST", "/upload", FORM | {"Content-Length": str(size)})
        case "a file":
            asked = ("PUT", "/files/f", {"Content-Length": str(size)})
        case "tus":
            asked = ("POST", "/tus/", VERSION | {"Upload-Length": str(size), "Content-Length": "0"})
        case "the draft":
            name = {"Upload-Complete": "?0", "Upload-Length": str(size), "Upload-Draft-Interop-Version": "8"}
            disposition = {"Content-Disposition": 'attachment; filename="f"', "Content-Length": "0"}
            asked = ("POST", "/upload", name | disposition)
    method, path, own = asked
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Expect: 100-continue", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (own | headers).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode()
    body = await reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head)[1]))
    writer.close()
    return int(head.split()[1]), json.loads(body).get("detail", "")


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_that_is_too_large_is_told_the_limit_in_readable_units(root, way):
    """What it has itself, too, where that is known."""
    async with serving(root, config={"max_file_size": 250 * MIB}) as server:
        status, detail = await declare(server, way, 400 * MIB)
    assert status == 413
    tells(detail, 250 * MIB)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("whose", ["everybody's", "the owner's"])
async def test_a_quota_that_does_not_suffice_is_explained(root, way, whose):
    """Neither "used up" for a file that is larger than what is left: what it wants, and what is free."""
    quota = {"quota" if whose == "everybody's" else "quota_per_owner": 30 * MIB}
    async with serving(root, config=quota, authenticate=token_users) as server:
        first = io.BytesIO(b"x" * 10 * MIB)
        async with server.client.put(server.url + "/files/first", data=first, headers=as_user("alice")) as put:
            assert put.status == 201
        status, detail = await declare(server, way, 50 * MIB, **as_user("alice"))
    assert (status, bool(detail)) == (507, True)
    tells(detail, 50 * MIB, 20 * MIB)
    assert "used up" not in detail


@pytest.mark.parametrize("way", WAYS)
async def test_a_disk_that_has_too_little_is_explained(root, way):
    """Not "full" while there is room: what the file wants, and what it may have."""
    root.mkdir()
    disk = os.statvfs(root)
    free = disk.f_bavail * disk.f_frsize
    room = free // 2
    async with serving(root, config={"min_free": free - room, "max_file_size": 2 * free}) as server:
        status, detail = await declare(server, way, free)
    assert (status, bool(detail)) == (507, True)
    tells(detail, free, room, within=0.2)


async def test_an_upload_of_unknown_length_is_told_the_limit_that_it_meets(root):
    """Where nobody knows what is wanted: what there is."""

    async def body():
        for _ in range(5):
            yield b"x" * MIB

    for config, limit in (({"max_file_size": 3 * MIB}, 3 * MIB), ({"quota": 2 * MIB}, 2 * MIB)):
        async with serving(root, config=config) as server:
            async with server.client.put(server.url + "/files/f", data=body()) as answer:
                assert answer.status in (413, 507)
                tells((await answer.json())["detail"], limit)


@pytest.mark.parametrize("size", [5 * MIB, 12 * MIB], ids=["in one request", "resumably"])
async def test_the_command_line_tells_the_same(root, tmp_path, size):
    """In its one line."""
    (tmp_path / "f").write_bytes(b"x" * size)
    for config, limit in (({"max_file_size": 2 * MIB}, 2 * MIB), ({"quota": 3 * MIB}, 3 * MIB)):
        async with serving(root, config=config) as server:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "headgate", "upload", "f", "--url", server.url),
                cwd=tmp_path,
                env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            _, err = await process.communicate()
        assert process.returncode == 1
        tells(err.decode(), limit)
