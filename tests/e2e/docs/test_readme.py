"""The README's examples run as they are printed."""

import asyncio
import re
import sys
from pathlib import Path

import aiohttp

from e2e.conftest import running
from support import eventually

HOME = Path(__file__).parents[3]
README = (HOME / "README.md").read_text()
RESUMABLE = (HOME / "docs" / "resumable.md").read_text()


def blocks(language, containing, document=README):
    return [text for text in re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL) if containing in text]


async def pasted(server, lines, cwd):
    """What bash says to them."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", lines.replace("http://127.0.0.1:8080", server.url)),
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return (await shell.communicate())[0].decode()


async def test_the_curl_lines_can_be_pasted_twice(root, tmp_path):
    """All of them, in order, in one shell: each does what the text above it says, and again in the same directory."""
    lines = "".join(blocks("sh", "127.0.0.1:8080"))
    async with running(root) as server:
        out = await pasted(server, lines, tmp_path)
        assert (tmp_path / "copy.csv").read_text() == "some rows\n"
        assert out.count('"state": "completed"') == 2 + 3  # two uploads answered; and in the list, with the export
        assert out.count('"state": "paused"') == 1
        assert out.count('"state": "running", "owner": "anonymous", "names": ["big.bin"]') == 1
        again = await pasted(server, lines, tmp_path)
    for each in (out, again):
        assert re.findall(r'"code": "([a-z-]+)"', each) == ["terminated"]
        assert each.count('{"terminated": [') == 2
    assert 0 < (tmp_path / "partial.bin").stat().st_size < 200_000_000
    assert (tmp_path / "whole.bin").stat().st_size == 200_000_000
    assert server.files() == ["big.bin", "rows.csv"]


async def test_the_resumable_curl_lines_can_be_pasted(root, tmp_path):
    """Both protocols: sent in two pieces, and in one that is told where to resume."""
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 10_000)
    lines = "".join(blocks("sh", "127.0.0.1:8080", RESUMABLE))
    async with running(root) as server:
        out = await pasted(server, lines, tmp_path)
        assert "Upload-Offset: 1000000" in out
        assert "HTTP/1.1 104 " in out
        assert server.files() == ["big.bin", "big2.bin"]
        assert (root / "big.bin").read_bytes() == (root / "big2.bin").read_bytes() == bytes(range(256)) * 10_000


async def test_the_embedding_example_runs(tmp_path):
    """As a program of its own: the export streams, its finally runs, and the check refuses."""
    (example,) = blocks("python", "create_app")
    (tmp_path / "service.py").write_text(example.replace("port=8081", "port=0"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "service.py"), cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=None
    )
    try:
        out = b""
        while not (ready := re.search(rb"http://127\.0\.0\.1:(\d+)", out)):
            out += await asyncio.wait_for(process.stdout.readline(), 20)
        url = f"http://127.0.0.1:{int(ready[1])}/transfers"
        async with aiohttp.ClientSession(headers={"X-User": "alice"}) as client:
            async with client.post(f"{url}/export", data={"filename": "orders.csv"}) as response:
                assert await response.text() == "id,total\n0,0\n1,10\n2,20\n"
            form = aiohttp.FormData()
            form.add_field("file", b"", filename="empty")
            async with client.post(f"{url}/upload", data=form) as response:
                assert response.status == 422
                assert "not worth keeping" in await response.text()
        async with aiohttp.ClientSession() as client, client.get(f"{url}/jobs") as response:
            assert response.status == 401
        printed = []
        while "the cursor is closed\n" not in printed:
            printed.append((await asyncio.wait_for(process.stdout.readline(), 20)).decode())
    finally:
        process.terminate()
        await process.wait()
    await eventually(lambda: process.returncode is not None)
