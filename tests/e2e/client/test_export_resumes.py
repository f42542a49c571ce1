"""The command line's exports: what came of a broken one is gone on with; and what no headgate sends is no file."""

import asyncio
import json
import os
import re
import signal
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from e2e.client.test_client import MIB, run, started
from e2e.conftest import curl, running
from support import PATIENCE, eventually

SIZE = 24 * MIB
SLOW = ("--total-rate", "8MiB", "--drain-timeout", "0")

#: Bytes that are here when an export breaks, at least; what was not yet written when it did may be lost.
CAME = 6 * MIB


@pytest.fixture
def stored(root):
    """What is exported: there before the server is."""
    root.mkdir()
    path = root / "stored.bin"
    path.write_bytes(os.urandom(MIB) * 24)
    return path


@pytest.fixture
def into(tmp_path):
    path = tmp_path / "into"
    path.mkdir()
    return path


def names(into):
    return sorted(path.name for path in into.iterdir())


def kept(into):
    """What is kept of exports that broke."""
    return [path for path in into.iterdir() if path.name.startswith(".headgate-")]


async def half(into):
    """Wait until much of an export has come."""
    await eventually(lambda: sum(path.stat().st_size for path in kept(into)) >= CAME, "half of an export")


async def broken(served, into, *arguments):
    """An export that was killed half-way."""
    async with started(served, "export", "stored.bin", *arguments, cwd=into) as process:
        await half(into)
        process.kill()
        await process.wait()
    assert "stored.bin" not in names(into)


async def moved(served, until=0):
    """Bytes that exports of this server have moved, those of its `until` first ones aside."""
    jobs = json.loads((await curl(f"{served.url}/jobs")).body)["jobs"]
    exports = sorted((job for job in jobs if job["kind"] == "export"), key=lambda job: job["created_at"])
    return sum(job["bytes_done"] for job in exports[until:])


async def test_a_killed_export_goes_on_when_it_is_begun_again(root, stored, into):
    """Only the rest is sent; then the file is whole, and nothing lies beside it."""
    async with running(root, *SLOW) as served:
        await broken(served, into)
        code, out, err = await run(served, "export", "stored.bin", cwd=into)
        assert (code, out) == (0, "stored.bin written, 24.0 MiB\n"), err
        assert await moved(served, until=1) <= SIZE - CAME
    assert (into / "stored.bin").read_bytes() == stored.read_bytes()
    assert names(into) == ["stored.bin"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_export_goes_on_after_its_servers_restart(root, stored, into, number):
    """By itself, or when it is begun again; what had come is not sent again."""
    async with running(root, *SLOW) as first, started(first, "export", "stored.bin", cwd=into) as process:
        await half(into)
        await first.stop(number)
        async with running(root, "--port", first.url.rpartition(":")[2]) as second:
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
            if process.returncode != 0:
                assert process.returncode in (1, 3), err.decode()
                assert kept(into)
                assert (await run(second, "export", "stored.bin", cwd=into))[0] == 0
            assert await moved(second) <= SIZE - CAME
    assert (into / "stored.bin").read_bytes() == stored.read_bytes()
    assert names(into) == ["stored.bin"]


@pytest.mark.parametrize("size", [SIZE, 7 * MIB, 4096], ids=["as large", "smaller", "smaller than what came"])
async def test_a_file_that_was_replaced_is_exported_anew(root, stored, into, size):
    """Never the beginning of the one and the end of the other."""
    async with running(root, *SLOW) as served:
        await broken(served, into)
        status = stored.stat()
        (root / "other").write_bytes(b"b" * size)
        os.utime(root / "other", ns=(status.st_atime_ns, status.st_mtime_ns))
        os.replace(root / "other", stored)
        code, _, err = await run(served, "export", "stored.bin", cwd=into)
        assert code == 0, err
        assert await moved(served, until=1) == size
    assert (into / "stored.bin").read_bytes() == b"b" * size
    assert names(into) == ["stored.bin"]


async def test_what_is_kept_is_of_one_file_and_one_target(root, stored, into):
    """Another file under the same name here, and the same under another name, begin with nothing."""
    (root / "another.bin").write_bytes(b"another")
    async with running(root, *SLOW) as served:
        await broken(served, into, "-o", "target")
        before = names(into)
        assert (await run(served, "export", "another.bin", cwd=into))[0] == 0
        assert (await run(served, "export", "another.bin", "-o", "other", cwd=into))[0] == 0
        assert names(into) == sorted([*before, "another.bin", "other"])
        assert (await run(served, "export", "stored.bin", "-o", "target", cwd=into))[0] == 0
        assert await moved(served, until=3) <= SIZE - CAME
    assert (into / "target").read_bytes() == stored.read_bytes()


async def test_all_of_it_may_have_come(root, stored, into):
    """Killed before the file had its name: nothing is sent again."""
    async with running(root, *SLOW) as served:
        await broken(served, into)
        largest = max(kept(into), key=lambda path: path.stat().st_size)
        largest.write_bytes(stored.read_bytes())
        code, _, err = await run(served, "export", "stored.bin", cwd=into)
        assert code == 0, err
        assert await moved(served, until=1) <= MIB
    assert (into / "stored.bin").read_bytes() == stored.read_bytes()
    assert names(into) == ["stored.bin"]


async def test_two_at_once_do_not_write_into_one_another(root, stored, into):
    """One of them continues the partial file; the file is whole, whichever ends last."""
    async with running(root, "--total-rate", "16MiB") as served:
        await broken(served, into)
        again = ("export", "stored.bin", "--force")
        outcomes = await asyncio.gather(*(run(served, *again, cwd=into) for _ in range(2)))
        assert 0 in [code for code, _, _ in outcomes], outcomes
        assert await moved(served, until=1) <= 2 * SIZE - CAME
    assert (into / "stored.bin").read_bytes() == stored.read_bytes()
    assert names(into) == ["stored.bin"]


async def test_what_nobody_comes_back_for_is_cleaned(root, stored, into):
    """By a later export into the same directory; what is of today stays."""
    (root / "another.bin").write_bytes(b"another")
    async with running(root, *SLOW) as served:
        await broken(served, into)
        assert (await run(served, "export", "another.bin", cwd=into))[0] == 0
        assert kept(into)
        for path in kept(into):
            os.utime(path, (0, 0))
        assert (await run(served, "export", "another.bin", "--force", cwd=into))[0] == 0
    assert names(into) == ["another.bin"]


# What is not headgate.

PAGE = "<html><title>Sign in</title></html>"


@asynccontextmanager
async def answering(handler):
    """A server of any other kind; gives its URL."""
    app = web.Application(client_max_size=16 * MIB)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{site.port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        ("export", "text/html"),
        ("export", "application/octet-stream"),
        ("export to a pipe", "text/html"),
        ("upload", "text/html"),
        ("upload", "application/json"),
        ("large upload", "text/html"),
        ("jobs", "text/html"),
        ("jobs", "application/json"),
        ("files", "text/html"),
    ],
)
async def test_what_no_headgate_answers_is_told_of_and_kept_nowhere(root, into, kind, type_):
    """A proxy's page with a 200 is neither the file, nor a word that one was uploaded."""
    (into / "small").write_bytes(b"x")
    with (into / "large").open("wb") as file:
        file.truncate(9 * MIB)
    arguments = {
        "export": ["export", "report"],
        "export to a pipe": ["export", "report", "-o", "-"],
        "upload": ["upload", "small"],
        "large upload": ["upload", "large"],
    }.get(kind, [kind])

    async def page(request):
        await request.read()
        return web.Response(text=PAGE, content_type=type_)

    async with answering(page) as url, running(root) as served:
        code, out, err = await run(served, *arguments, cwd=into, HEADGATE_URL=url)
    assert (code in (1, 3), out, len(err.splitlines())) == (True, "", 1), err
    assert re.search(r"\b(no|not)\b.*headgate", err), err
    assert names(into) == ["large", "small"]


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_is_followed_with_its_method_or_named(root, into, status):
    """Another address, often only https for http: never a call of another method, and a token goes nowhere else."""
    seen = []

    async def there(request):
        seen.append((request.method, request.path, request.headers.get("Authorization")))
        return web.Response(status=405)

    async with answering(there) as target:

        async def here(request):
            return web.Response(status=status, headers={"Location": f"{target}{request.path}"})

        async with answering(here) as url, running(root) as served:
            code, out, err = await run(served, "export", "a", cwd=into, HEADGATE_URL=url, HEADGATE_TOKEN="secret")
    assert (code, out, names(into)) == (1, "", []), err
    assert all(call == ("POST", "/export", None) for call in seen)
    assert seen or target in err, err


async def test_a_redirect_of_another_call_is_followed_or_named_too(root, into):
    (into / "large").write_bytes(b"x" * 9 * MIB)
    (into / "small").write_bytes(b"x")
    async with running(root) as served:

        async def here(request):
            await request.read()
            return web.Response(status=301, headers={"Location": served.url + request.path_qs})

        async with answering(here) as url:
            for arguments in (["upload", "small"], ["upload", "large"], ["delete", "there"]):
                (root / "there").write_bytes(b"x")
                code, _, err = await run(served, *arguments, cwd=into, HEADGATE_URL=url)
                assert code == 0 or served.url in err, (arguments, err)
