"""A disk that is really full: 507, final, nothing left, and the others go on."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import curl, running
from support import eventually, require


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    require("mount", shutil.which("mount") is not None)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "headgate", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this process may not mount a file system")  # a right, not a part that one could install
    yield disk
    subprocess.run(["umount", disk], check=True)


def zeros(path: Path, size: int) -> Path:
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(size)
    return path


async def upload(server, source, name):
    answer = await curl("-F", f"file=@{source};filename={name}", f"{server.url}/upload")
    return answer.status, json.loads(answer.body).get("code")


FULL = (507, "storage-full")


async def test_a_full_disk_refuses_and_keeps_nothing_of_it(small_disk, tmp_path):
    """However the disk is filled: by one upload that is too large, or by several at once, none of them is half there;
    what was there stays, and what fits is taken, also by those that were under way."""
    big, small = zeros(tmp_path / "big", 20 * 2**20), zeros(tmp_path / "small", 6 * 2**20)
    async with running(small_disk / "root", "--min-free", "0") as server:
        assert (await upload(server, small, "first"))[0] == 201
        assert await upload(server, big, "big") == FULL
        assert server.files() == ["first"]
        chunked = ("-H", "Transfer-Encoding: chunked")
        answer = await curl(*chunked, "-F", f"file=@{big};filename=big", f"{server.url}/upload")
        assert (answer.status, json.loads(answer.body)["code"]) == FULL
        outcomes = await asyncio.gather(*(upload(server, small, f"at-once-{number}") for number in range(4)))
        assert sorted(status for status, _ in outcomes) == [201, 507, 507, 507]
        assert len(server.files()) == 2
        answer = await curl("-d", "filename=first", f"{server.url}/export")
        assert (answer.status, len(answer.body)) == (200, 6 * 2**20)


async def test_a_disk_that_somebody_else_fills_refuses_too(small_disk, tmp_path):
    """Nobody told the server; the write itself fails."""
    source = zeros(tmp_path / "source", 10 * 2**20)
    async with running(small_disk / "root", "--min-free", "0") as server:
        slow = asyncio.create_task(
            curl("--limit-rate", "5M", "-F", f"file=@{source};filename=slow", f"{server.url}/upload")
        )
        await eventually(server.files, "a staged file")
        (small_disk / "somebody else's").write_bytes(b"x" * 15 * 2**20)
        answer = await slow
        assert (answer.status, json.loads(answer.body)["code"]) == FULL
        assert server.files() == []
        (small_disk / "somebody else's").unlink()
        assert (await upload(server, source, "again"))[0] == 201


async def test_a_limit_of_the_system_on_file_sizes_refuses_too(root, tmp_path):
    """RLIMIT_FSIZE: the file that exceeds it is refused and gone, smaller ones are taken."""
    big, small = zeros(tmp_path / "big", 3 * 2**20), zeros(tmp_path / "small", 2**20 - 1)
    async with running(root, launcher=("prlimit", f"--fsize={2**20}")) as server:
        assert await upload(server, big, "big") == FULL
        assert server.files() == []
        assert (await upload(server, small, "small"))[0] == 201
