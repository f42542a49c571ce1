"""What a server does not begin with, what it warns of, and what does not hold it up once it runs."""

import asyncio
import fcntl
import hashlib
import os
import signal
import sys
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from e2e.conftest import curl, running
from headgate.web.middleware.tokens import new_token
from support import PATIENCE

NOTHING = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("line", [f"eve:{NOTHING}", f"eve:{NOTHING}:admin", f"eve:{NOTHING.upper()}"])
async def test_a_token_of_nothing_is_refused_at_start(root, tmp_path, line):
    """A digest of an empty variable would let in clients without a token."""
    _, other = new_token("alice")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{other}\n{line}\n")
    tokens.chmod(0o600)
    arguments = ("serve", "--port", "0", "--root", str(root), "--tokens", str(tokens))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headgate", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b""
        _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, len(err.splitlines())) == (2, 1), err
    assert b"ine 2" in err
    assert b"empty" in err


# The staging directory.


def stranger(staging):
    os.chown(staging, 12345, 12345)


def open_to_all(staging):
    staging.chmod(0o777)


def open_to_others(staging):
    staging.chmod(0o703)


@pytest.mark.parametrize("fault", [stranger, open_to_all, open_to_others])
async def test_a_staging_directory_of_others_is_refused_at_start(root, fault):
    """Who else can write there could put what they like under the names of what is on its way."""
    staging = root / ".staging"
    staging.mkdir(parents=True, mode=0o700)
    fault(staging)
    if fault is stranger and os.geteuid() != 0:
        pytest.skip("only the superuser gives directories away")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headgate", "serve", "--port", "0", "--root", str(root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b""
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, len(err.splitlines())) == (1, 1), err
    assert b".staging" in err


@pytest.mark.parametrize("kind", ["a pipe", "a link to a pipe", "a directory"])
async def test_what_is_no_file_in_the_staging_directory_holds_nobody_up(root, tmp_path, kind):
    """It is not opened, whatever it is called; asked for its upload, the server has none."""
    staging = root / ".staging"
    staging.mkdir(parents=True, mode=0o700)
    id_ = str(uuid4())
    if kind == "a pipe":
        os.mkfifo(staging / f"{id_}.kept.json")
    elif kind == "a directory":
        (staging / f"{id_}.kept.json").mkdir()
    else:
        os.mkfifo(tmp_path / "pipe")
        (staging / f"{id_}.kept.json").symlink_to(tmp_path / "pipe")
    async with running(root) as server:
        try:
            for path in (f"tus/{id_}", f"uploads/{id_}"):
                arguments = ("--head", "-H", "Tus-Resumable: 1.0.0", "--max-time", "5", f"{server.url}/{path}")
                assert (await curl(*arguments)).status == 404
            assert (await curl("-F", "file=@-;filename=a", f"{server.url}/upload", stdin=b"x")).status == 201
            assert await server.stop() == 0
        finally:
            server.kill()


# The log.


@asynccontextmanager
async def unread(root):
    """A server whose standard error is a pipe that is not read; gives it, its port and the pipe."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headgate", "serve", "--port", "0", "--root", str(root)),
        stdout=asyncio.subprocess.PIPE,
        stderr=writing,
    )
    os.close(writing)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        yield process, line.decode().split()[1].rstrip("/"), reading
    finally:
        os.close(reading)
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_log_that_nobody_reads_holds_nobody_up(root):
    """Its lines are lost, and not the loop's time; a signal still ends the server."""
    async with unread(root) as (process, url, _):
        host, port = url.removeprefix("http://").split(":")
        for _ in range(300):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n")
            assert b" 400 " in await asyncio.wait_for(reader.readline(), PATIENCE / 2)
            writer.close()
        assert (await curl("--max-time", "5", f"{url}/healthz")).status == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE / 2) == 0


# Who may come in without tokens, and with tokens that all know.

FOREIGN = [
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "same-site"},
]


def headers(names):
    return [word for name, value in names.items() for word in ("-H", f"{name}: {value}")]


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda each: " ".join(each.values()))
async def test_anonymous_is_no_leave_for_pages_of_other_origins(root, foreign):
    """Nothing is published, terminated or deleted for them; by its own page and by other clients, under any name."""
    (root.parent / "there").write_bytes(b"x")
    async with running(root, "--anonymous", "--cors-origins", "https://app.example") as server:
        form = ("-F", f"file=@{root.parent / 'there'}", f"{server.url}/upload")
        assert (await curl(*headers(foreign), *form)).status == 403
        assert (await curl(*headers(foreign), "-X", "DELETE", f"{server.url}/files/there")).status == 403
        assert server.files() == []
        for more in (
            {"Host": "files.example"},
            {"Host": "files.example", "Origin": "http://files.example", "Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"},
        ):
            assert (await curl(*headers(more), *form)).status == 201, more
            (root / "there").unlink()


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
async def test_a_tokens_file_that_all_may_read_is_warned_of(root, tmp_path, mode):
    """It serves all the same; of one that is its owner's alone there is nothing to say."""
    token, line = new_token("alice")
    tokens = tmp_path / "tokens"
    tokens.write_text(line + "\n")
    for each, warned in ((0o600, False), (mode, True)):
        tokens.chmod(each)
        async with running(root, "--tokens", str(tokens)) as server:
            assert (await curl("-H", f"Authorization: Bearer {token}", f"{server.url}/jobs")).status == 200
        said = server.log.read_text()
        assert ("warning" in said.lower() and str(tokens) in said) is warned, said
