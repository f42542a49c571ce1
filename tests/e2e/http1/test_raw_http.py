"""HTTP/1.1 as it comes over the line (RFC 9112): every request has its answer, or the end of its connection."""

import asyncio
import json
import os

import pytest

from e2e.conftest import running
from raw import ask, connected, request
from support import BOUNDARY, eventually, file_form

MIB = 1 << 20
BIG = os.urandom(8 * MIB)


@pytest.fixture
async def server(root):
    async with running(root) as server:
        (root / "g").write_bytes(b"12345")
        yield server


def files(server):
    return {path.name: path.read_bytes() for path in server.root.iterdir() if path.is_file()}


def chunked(body):
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


CODED = "Transfer-Encoding: chunked"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
JSON = "Content-Type: application/json"
TUS = ("Tus-Resumable: 1.0.0", "Upload-Length: 5", "Content-Type: application/offset+octet-stream")

#: A whole request, and the status of its answer.
WHOLE = {
    "list": (request("GET", "/files"), 200),
    "get": (request("GET", "/files/g"), 200),
    "head": (request("HEAD", "/files/g"), 200),
    "put": (request("PUT", "/files/new", b"new"), 201),
    "large put": (request("PUT", "/files/new", BIG), 201),
    "chunked put": (request("PUT", "/files/new", None, CODED) + chunked(b"new"), 201),
    "form": (request("POST", "/upload", file_form("new", b"new"), FORM), 201),
    "chunked form": (request("POST", "/upload", None, FORM, CODED) + chunked(file_form("new", b"new")), 201),
    "tus": (request("POST", "/tus/", b"12345", *TUS), 201),
    "ietf": (request("POST", "/upload?filename=new", b"new", "Upload-Complete: ?1"), 201),
    "export": (request("POST", "/export", json.dumps({"filename": "g"}).encode(), JSON), 200),
    "zip": (request("POST", "/export", json.dumps({"filenames": ["g"]}).encode(), JSON), 200),
    "delete": (request("DELETE", "/files/g"), 204),
    "HTTP/1.0": (request("GET", "/files/g", version="HTTP/1.0"), 200),
    "refused": (request("PUT", "/files/.new", b"new"), 422),
}


@pytest.mark.parametrize("call", WHOLE)
async def test_who_has_said_all_and_only_listens_is_answered_as_everybody(server, call):
    """A request is whole, and then its client shuts down its side of the connection (9.6)."""
    whole, status = WHOLE[call]
    async with connected(server.url) as line:
        await line.send(whole)
        line.writer.write_eof()
        reply = await line.reply(bodiless=call == "head")
        assert reply is not None, "no answer"
        assert reply.status == status
        assert await line.ended()
    if status == 201 and call != "tus":
        assert files(server)["new"] in (b"new", BIG)
    if call in ("get", "export", "HTTP/1.0"):
        assert reply.body == b"12345"


async def test_a_large_export_reaches_whoever_only_listens(server, root):
    """All of it, though the socket fills on the way."""
    (root / "big").write_bytes(BIG * 4)
    async with connected(server.url) as line:
        await line.send(request("GET", "/files/big"))
        line.writer.write_eof()
        reply = await line.reply()
        assert reply is not None, "no answer"
        assert reply.body == BIG * 4


async def test_several_requests_and_then_only_listening(server):
    """Each of them has its answer, in order."""
    async with connected(server.url) as line:
        await line.send(request("PUT", "/files/a", b"a") + request("GET", "/files/a") + request("GET", "/healthz"))
        line.writer.write_eof()
        replies = [await line.reply() for _ in range(3)]
        assert [reply and reply.status for reply in replies] == [201, 200, 200]
        assert replies[1].body == b"a"
        assert await line.ended()


async def test_a_body_that_ends_early_is_not_whole_whoever_listens(server):
    """What is missing does not come any more: nothing is published, and the end is told."""
    async with connected(server.url) as line:
        whole = request("PUT", "/files/part", b"12345")
        await line.send(whole[:-1])
        line.writer.write_eof()
        reply = await line.reply()
        assert reply is None or reply.status == 400
    async with connected(server.url) as line:
        await line.send(request("PUT", "/files/whole", b"12345"))
        line.writer.write_eof()
        assert (await line.reply()) is not None
    assert files(server) == {"g": b"12345", "whole": b"12345"}


@pytest.mark.parametrize("behind", [request("GET", "/files"), b"\x16\x03\x01 no HTTP"], ids=["a request", "no HTTP"])
@pytest.mark.parametrize("call", ["get", "put", "chunked put", "form"])
async def test_bytes_behind_the_last_request_take_nothing_from_it(server, call, behind):
    """What says that it is the last of its connection is answered; then the connection ends."""
    whole, status = WHOLE[call]
    line_end = whole.index(b"\r\n") + 2
    async with connected(server.url) as line:
        await line.send(whole[:line_end] + b"Connection: close\r\n" + whole[line_end:] + behind)
        reply = await line.reply()
        assert reply is not None, "no answer"
        assert reply.status == status
        assert await line.ended()


@pytest.mark.parametrize("call", ["chunked put", "chunked form"])
async def test_an_old_request_with_a_coding_is_the_last_of_its_connection(server, call):
    """HTTP/1.0 knows no codings (6.1): where its end is meant to be cannot be trusted."""
    whole, _ = WHOLE[call]
    whole = whole.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n", 1)
    async with connected(server.url) as line:
        await line.send(whole + request("DELETE", "/files/g"))
        reply = await line.reply()
        assert reply is not None
        assert reply["Connection"] != "keep-alive"
        assert await line.ended()
    assert "g" in files(server)


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.2"])
@pytest.mark.parametrize("call", ["get", "put"])
async def test_a_request_behind_an_upgrade_that_is_not_made_is_answered(server, call, upgrade):
    """An Upgrade may be ignored (RFC 9110, 7.8); the connection then goes on as HTTP/1.1."""
    whole, status = WHOLE[call]
    line_end = whole.index(b"\r\n") + 2
    whole = whole[:line_end] + f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n".encode() + whole[line_end:]
    async with connected(server.url) as line:
        await line.send(whole + request("GET", "/healthz", None, "Connection: close"))
        first, second = await line.reply(), await asyncio.wait_for(line.reply(), 5)
        assert first is not None
        assert first.status == status
        assert second is not None
        assert second.status == 200


@pytest.mark.parametrize("where", ["one extension", "many extensions"])
async def test_what_is_said_of_a_chunk_is_bounded(server, where):
    """30 MB of extensions are not taken for a body of three bytes, nor kept."""
    head = request("PUT", "/files/new", None, CODED)
    flood = [b"x" * 65536] * 480
    pieces = {
        "one extension": [b"3;a=", *flood, b"\r\nnew\r\n0\r\n\r\n"],
        "many extensions": [b"3", *([b";a=" + b"x" * 4000] * 7500), b"\r\nnew\r\n0\r\n\r\n"],
    }[where]
    before = server.memory()
    reply = await ask(server.url, head, *pieces)
    assert reply is None or (400 <= reply.status < 500), reply
    assert "new" not in files(server)
    assert server.memory() - before < 10 * MIB
    assert await eventually(lambda: sorted(files(server)) == ["g"])
