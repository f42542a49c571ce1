"""What is uploaded from the command line is one file as it was at one time, or nothing; and what only looks like a file
is sent as what it says."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from e2e.client.test_client import MIB, live, one_live, run, started
from e2e.conftest import curl, running
from proxy import breaking
from support import PATIENCE, eventually, require

SIZE = 24 * MIB


def write(path, letter, size=SIZE):
    path.write_bytes(letter * size)


def replace(path):
    """Another file of the same size takes its name."""
    other = path.with_name("other")
    write(other, b"b")
    os.replace(other, path)


def replace_and_date_back(path):
    """The same, and its time is that of the first."""
    before = path.stat()
    replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rewrite(path):
    with path.open("r+b") as file:
        file.write(b"b" * path.stat().st_size)


def truncate(path):
    os.truncate(path, MIB)


def grow(path):
    with path.open("ab") as file:
        file.write(b"b" * MIB)


async def the_only_job(served):
    """Once it has ended."""
    for _ in range(500):
        (job,) = json.loads((await curl(f"{served.url}/jobs")).body)["jobs"]
        if job["ended_at"] is not None:
            return job
        await asyncio.sleep(0.02)
    raise AssertionError(f"the job goes on: {job}")


async def ended(process):
    """Its exit code, and what it complained of."""
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, err.decode()


async def told_so(served, process):
    """It has ended, in a line that says why; and the upload with it, for good."""
    code, err = await ended(process)
    assert (code, "changed" in err) == (1, True), err
    assert (await the_only_job(served))["state"] in ("terminated", "failed")
    assert served.files() == []


@pytest.mark.parametrize("change", [replace, replace_and_date_back, rewrite, truncate, grow])
async def test_what_has_changed_between_two_attempts_is_no_upload_any_more(root, tmp_path, change):
    """The upload is terminated: what came of the first file is not gone on with from the second."""
    source = tmp_path / "big.bin"
    write(source, b"a")
    async with running(root) as served, breaking(served.url, [10 * MIB]) as proxy:
        async with started(served, "upload", str(source), HEADGATE_URL=proxy.url) as process:
            await eventually(lambda: proxy.cut, "a cut")
            change(source)
            await told_so(served, process)


@pytest.mark.parametrize("change", [truncate, rewrite])
async def test_what_changes_while_it_is_sent_is_not_published(root, tmp_path, change):
    """Neither the half of it that is left, nor the beginning of the one and the end of the other."""
    source = tmp_path / "big.bin"
    write(source, b"a")
    async with running(root, "--total-rate", "12MiB") as served:
        async with started(served, "upload", str(source)) as process:
            await one_live(served)
            change(source)
            await told_so(served, process)


async def test_neither_is_what_goes_in_one_request(root, tmp_path):
    """Unless all of it was on its way already."""
    source = tmp_path / "small.bin"
    write(source, b"a", 7 * MIB)
    async with running(root, "--total-rate", "2MiB") as served:
        async with started(served, "upload", str(source)) as process:
            await one_live(served)
            truncate(source)
            code, err = await ended(process)
        if code == 0:
            assert (root / "small.bin").read_bytes() == b"a" * 7 * MIB
        else:
            assert (code, "changed" in err) == (1, True), err
            assert (await the_only_job(served))["state"] in ("terminated", "failed")
            assert served.files() == []


async def test_a_file_that_is_gone_at_the_next_attempt_is_told_of(root, tmp_path):
    """And the upload is terminated."""
    source = tmp_path / "big.bin"
    write(source, b"a")
    async with running(root) as served, breaking(served.url, [10 * MIB]) as proxy:
        async with started(served, "upload", str(source), HEADGATE_URL=proxy.url) as process:
            await eventually(lambda: proxy.cut, "a cut")
            source.unlink()
            assert (await ended(process))[0] == 1
        assert await live(served) == []


async def test_another_file_of_the_same_time_and_size_is_not_the_rest_of_the_first(root, tmp_path):
    """Not for the next process either."""
    source = tmp_path / "big.bin"
    write(source, b"a")
    async with running(root, "--total-rate", "16MiB", "--drain-timeout", "0") as served:
        async with started(served, "upload", str(source)) as process:
            await one_live(served)
            process.kill()
            await process.wait()
        replace_and_date_back(source)
        code, _, err = await run(served, "upload", str(source))
        assert code == 0, err
        assert set((root / "big.bin").read_bytes()) == {ord("b")}


def kernels(name):
    """A file that the kernel makes up, and what it says."""
    path = Path(name)
    require(name, path.exists())
    return path.stat().st_size, path.read_bytes()


@pytest.mark.parametrize("path", ["/proc/cpuinfo", "/proc/self/limits", "/proc/filesystems"])
async def test_a_file_that_tells_no_size_is_sent_as_it_is_read(served, path):
    """What the kernel makes up says that it has 0 bytes, and has more."""
    told, content = kernels(path)
    assert (told, bool(content)) == (0, True)
    code, _, err = await run(served, "upload", path, "--name", "copy")
    assert code == 0, err
    copy = (served.root / "copy").read_bytes()
    assert copy.split()[0] == content.split()[0]
    assert len(copy.splitlines()) == len(content.splitlines())


async def test_a_file_that_has_less_than_it_tells_is_an_error_and_no_wait(served):
    """Sent as it is, or told of: never waited for, and never a part of something."""
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    told, content = kernels(path)
    assert told > len(content)
    async with started(served, "upload", path, "--name", "copy") as process:
        code, err = await ended(process)
    if code == 0:
        assert (served.root / "copy").read_bytes() == content
    else:
        assert (code, len(err.splitlines())) == (1, 1), err
        assert "malformed-body" not in err
        assert served.files() == []
    assert await live(served) == []


@pytest.fixture
async def served(root):
    async with running(root) as server:
        yield server
