"""One signal ends a command of the command line, whatever it waits for; and what goes wrong is one line."""

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from e2e.client.test_client import HEADGATE, MIB, environment, live, one_live, run, started
from e2e.conftest import running
from support import PATIENCE

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
async def served(root):
    async with running(root, "--total-rate", "8MiB") as server:
        yield server
        server.kill()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(MIB) * 24)
    return path


@pytest.fixture
def into(tmp_path):
    path = tmp_path / "into"
    path.mkdir()
    return path


async def ended_by(process, number):
    """It has ended by this one signal, as shells expect it to, and said so in a line; gives what it said."""
    process.send_signal(number)
    try:
        await asyncio.wait_for(process.wait(), PATIENCE / 2)
    except TimeoutError:
        pytest.fail(f"{number.name} did not end it")
    err = (await process.stderr.read()).decode()
    assert process.returncode == 128 + number, err
    assert len(err.splitlines()) == 1, err
    return err


async def a_job_of(served):
    for _ in range(500):
        if jobs := await live(served):
            return jobs[0]
        await asyncio.sleep(0.02)
    raise AssertionError("no job began")


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_pipe_that_says_nothing_holds_no_signal_up(served, number):
    """What was uploaded of it is gone, on the server too."""
    reading, writing = os.pipe()
    try:
        async with started(served, "upload", "/dev/stdin", "--name", "piped", stdin=reading) as process:
            job = await a_job_of(served)
            assert f"job {job['id']} is terminated on the server" in await ended_by(process, number)
            assert await live(served) == []
    finally:
        os.close(reading)
        os.close(writing)
    assert served.files() == []


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_named_pipe_that_nobody_writes_to_holds_no_signal_up(served, into, number):
    """It cannot even be opened."""
    os.mkfifo(into / "pipe")
    (into / "first").write_bytes(b"x")
    async with started(served, "upload", "first", "pipe", cwd=into) as process:
        assert await process.stdout.readline() == b"first uploaded, 1 B\n"
        await ended_by(process, number)
    assert await live(served) == []


@pytest.mark.parametrize("kind", ["upload", "export"])
async def test_a_terminal_that_is_closed_leaves_nothing(served, big, into, kind):
    """A hang-up ends a transfer as Ctrl-C does, on both sides."""
    if kind == "export":
        os.link(big, served.root / "stored.bin")
    arguments = ["upload", str(big)] if kind == "upload" else ["export", "stored.bin"]
    async with started(served, *arguments, cwd=into) as process:
        job = await one_live(served)
        assert f"job {job['id']} is terminated on the server" in await ended_by(process, signal.SIGHUP)
        assert await live(served) == []
    assert list(into.iterdir()) == []


EARLY = [
    (["jobs"], "aiohttp.client"),
    (["jobs"], "headgate.jobs"),
    (["jobs"], "click"),
    (["jobs"], "rich.console"),
    (["serve", "--port", "0"], "aiohttp.client"),
    (["serve", "--port", "0"], "headgate.jobs"),
]


@pytest.mark.parametrize(("arguments", "module"), EARLY, ids=[f"{words[0]} {module}" for words, module in EARLY])
async def test_a_command_that_has_hardly_begun_ends_without_a_traceback(tmp_path, arguments, module):
    """Ctrl-C while its modules are loaded, the one or the other."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "headgate", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"HEADGATE_URL": "http://127.0.0.1:9"},
        cwd=tmp_path,
    )
    loaded = False
    try:
        async for line in process.stderr:
            if line.decode().rpartition("|")[2].strip() == module:
                loaded = True
                process.send_signal(signal.SIGINT)
                break
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = [line for line in err.decode().splitlines() if not line.startswith("import time:")]
    assert len(said) <= 1, "\n".join(said)
    if loaded:  # a command may come to do without it
        assert process.returncode in (130, -signal.SIGINT, *([0] if arguments[0] == "serve" else []))


@pytest.mark.parametrize(
    "arguments", [["jobs"], ["jobs", "--json"], ["files"], ["delete", "a"], ["--help"]], ids=" ".join
)
async def test_an_output_that_takes_nothing_is_told_of_in_a_line(served, arguments):
    """And is no success."""
    for name in ("a", "b"):
        (served.root / name).write_bytes(b"x")
    assert (await run(served, "export", "b", "-o", "/dev/null"))[0] == 0
    full = os.open("/dev/full", os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *(*HEADGATE, *arguments), stdout=full, stderr=asyncio.subprocess.PIPE, env=environment(served)
    )
    os.close(full)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode != 0
    assert re.fullmatch(r"headgate: .*No space left on device.*\n", err.decode()), err.decode()


@pytest.mark.parametrize("arguments", [["jobs"], ["upload", "a"], ["export", "a", "-o", "-"]], ids=" ".join)
async def test_a_user_in_the_url_beside_a_token_is_no_traceback(served, tmp_path, arguments):
    """Which of the two is meant cannot be known, or the token is."""
    (tmp_path / "a").write_bytes(b"x")
    url = served.url.replace("://", "://somebody:password@")
    code, _, err = await run(served, *arguments, cwd=tmp_path, HEADGATE_URL=url, HEADGATE_TOKEN="token")
    assert code in (0, 1, 2)
    assert code != 2 or "Usage:" in err or len(err.splitlines()) == 1


@asynccontextmanager
async def answering(handler):
    """A server of another kind."""
    app = web.Application(client_max_size=32 * MIB)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{site.port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("offset", [None, "many", "-1"])
async def test_an_offset_that_is_none_is_told_of_in_a_line(served, big, offset):
    """What answers between us and a headgate may drop the header, or be no headgate."""

    async def handler(request):
        headers = {"Tus-Resumable": "1.0.0", "Job-Id": request.headers.get("Job-Id", request.path.rpartition("/")[2])}
        match request.method:
            case "POST":
                return web.Response(status=201, headers=headers | {"Location": f"/tus/{headers['Job-Id']}"})
            case "HEAD":
                return web.Response(headers=headers if offset is None else headers | {"Upload-Offset": offset})
            case "PATCH":
                request.transport.abort()
        return web.json_response({})

    async with answering(handler) as url:
        async with started(served, "upload", str(big), HEADGATE_URL=url) as process:
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    said = [line for line in err.decode().splitlines() if "trying again" not in line]
    assert (process.returncode in (1, 3), out, len(said)) == (True, b"", 1), err.decode()
    assert said[0].startswith("headgate: ")
