"""An answer that comes before the end of an upload reaches its client, and what is drained for that is bounded."""

import asyncio
import http.client
import io
import json
import re
import shutil
import time
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests

from e2e.conftest import browse, curl
from support import BOUNDARY, FORM, HeldUpload, eventually, form, part, require, serving

SIZE = 8_000_000


async def by_curl(url, body, tmp_path):
    require("curl", shutil.which("curl") is not None)
    (tmp_path / "body").write_bytes(body)
    headers = ("-H", f"Content-Type: {FORM['Content-Type']}", "-H", "Expect:")
    answer = await curl("-X", "POST", *headers, "--data-binary", f"@{tmp_path / 'body'}", url)
    return answer.status, json.loads(answer.body)


async def by_aiohttp(url, body, tmp_path):
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(body), headers=FORM) as response:
        return response.status, await response.json(content_type=None)


async def by_requests(url, body, tmp_path):
    response = await asyncio.to_thread(requests.post, url, data=body, headers=FORM, timeout=60)
    return response.status_code, response.json()


async def by_http_client(url, body, tmp_path):
    """The whole body first, then the answer."""

    def post():
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            connection.request("POST", f"{parts.path}?{parts.query}", body, FORM)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(post)


async def by_browser(url, body, tmp_path):
    """A page that waits for its answer while it loads."""
    before, after = body.split(b"x" * SIZE)
    page = tmp_path / "page.html"
    page.write_text(f"""<body><script>
        const upload = new XMLHttpRequest();
        upload.open("POST", "{url}", false);
        upload.setRequestHeader("Content-Type", "{FORM["Content-Type"]}");
        try {{ upload.send({json.dumps(before.decode())} + "x".repeat({SIZE}) + {json.dumps(after.decode())}); }}
        catch (error) {{ }}
        document.body.innerText = "answer " + upload.status + " " + upload.responseText;
    </script>""")
    document = await browse(page, tmp_path / "profile")
    answer = re.search(r"answer (\d+) (\{.*\})?", document)
    return int(answer[1]), json.loads(answer[2] or "{}")


CLIENTS = {
    "curl": by_curl,
    "aiohttp": by_aiohttp,
    "requests": by_requests,
    "http.client": by_http_client,
    "browser": by_browser,
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("refusal", ["before the body", "at the name", "half-way", "no such route"])
async def test_ordinary_clients_receive_an_early_refusal(root, tmp_path, regime, client, refusal):
    """Whatever the client was sending, it has the answer and not a reset."""
    config = {"watch_interval": 0.05}
    if refusal == "half-way":
        config |= {
            "max_file_size": SIZE // 2,
            "max_upload_size": 2 * SIZE,
        }  # Content-Length does not tell
    async with serving(root, handler_cancellation=regime, config=config) as server:
        (root / "taken").write_bytes(b"")
        name = "taken" if refusal == "at the name" else "new"
        path = {"before the body": "/upload?on_conflict=never", "no such route": "/nowhere"}.get(refusal, "/upload")
        status, body = await CLIENTS[client](server.url + path, form(part(name, b"x" * SIZE)), tmp_path)
        expected = {
            "before the body": (422, "invalid-option"),
            "at the name": (409, "name-taken"),
            "half-way": (413, "too-large"),
            "no such route": (404, "not-found"),
        }
        assert (status, body.get("code")) == expected[refusal]
        assert server.staged() == []


async def test_a_client_of_a_terminated_upload_has_the_answer_while_it_sends_on(root, regime):
    """Its job is over at once; the connection stays for as long as the client needs to look up."""
    async with serving(root, handler_cancellation=regime) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 100_000))
        job = await upload.began(50_000)
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as response:
            assert response.status == 200
        for _ in range(50):
            upload.send(b"x" * 100_000)
        status, body, headers = await upload.response
        assert (status, body["code"], headers["Connection"]) == (409, "terminated", "close")


async def flood(server, seconds=30.0):
    """Send a refused upload without end and without looking; returns how many bytes went out until the reset, and how
    many seconds that took."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=2**16)
    writer.write(
        b"POST /upload?on_conflict=never HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=" + BOUNDARY.encode() + b"\r\n\r\n"
    )
    began, sent = time.monotonic(), 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
                sent += 0x10000
    except ConnectionError:
        return sent, time.monotonic() - began
    finally:
        writer.transport.abort()


async def test_what_is_drained_is_bounded_in_bytes_and_in_seconds(root, regime):
    """A client that never stops is read no further than the limit, and is gone after the time."""
    config = {"linger_size": 1_000_000, "linger_timeout": 0.5}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        sent, seconds = await flood(server)
        # What was read, and what the kernels' buffers of both ends took in.
        assert sent < 1_000_000 + 16_000_000
        assert 0.4 < seconds < 10
        await eventually(lambda: not server.runner.server.connections, "the end of the connection")


async def test_a_client_that_stops_sending_is_not_waited_for(root, regime):
    """It has its answer and hangs up: the connection is gone at once, long before the time."""
    async with serving(root, handler_cancellation=regime, config={"linger_timeout": 1000}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx")
        assert (await reader.readline()).split()[1] == b"415"
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: not server.runner.server.connections, "the end of the connection")


async def test_a_client_that_has_hung_up_is_not_waited_for(root, regime):
    """Though more of it is here than is read for an answer."""
    config = {"linger_size": 100_000, "linger_timeout": 60.0, "watch_interval": 0.05}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /upload?on_conflict=x HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM['Content-Type']}\r\n"
        writer.write(head.encode() + b"Content-Length: 9000000\r\n\r\n" + b"x" * 1_500_000)
        await eventually(lambda: server.runner.server.connections)
        (connection,) = server.runner.server.connections
        await eventually(lambda: not connection.transport.is_reading(), "the end of reading")
        writer.transport.abort() if regime else writer.close()
        await eventually(lambda: not server.runner.server.connections, "the end of the connection")
