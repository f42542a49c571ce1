"""Request lines and header lines as they come (RFC 9112, 2 and 3): what is none is refused in our own words."""

import pytest

from e2e.conftest import running
from raw import ask, connected, request
from support import eventually

MIB = 1 << 20


@pytest.fixture
async def server(root):
    async with running(root) as server:
        (root / "g").write_bytes(b"12345")
        yield server


SECRET = "what-was-sent"

#: What is sent, and the problem that it is told.
REFUSED = {
    "long target": (request("GET", f"/files/{SECRET}{'x' * 9000}"), 414, "uri-too-long"),
    "longer target": (request("GET", f"/{SECRET}{'x' * 60_000}"), 414, "uri-too-long"),
    "long query": (request("DELETE", f"/files/g?{SECRET}={'x' * 9000}"), 414, "uri-too-long"),
    "unknown method": (request(SECRET.upper(), "/files/g"), 501, "not-implemented"),
    "small letters": (request("delete", "/files/g"), 501, "not-implemented"),
    "unknown method, no such path": (request("BREW", f"/{SECRET}"), 501, "not-implemented"),
    "unknown method with a body": (request("BREW", "/files/g", b"12345"), 501, "not-implemented"),
    "no version": (f"DELETE /files/g\r\nX: {SECRET}\r\n\r\n".encode(), 400, "malformed-request"),
    "no version, no lines": (b"DELETE /files/g\r\n\r\n", 400, "malformed-request"),
    "HTTP/0.9": (b"GET /files/g\r\n\r\n", 400, "malformed-request"),
    "HTTP/2.0": (request("DELETE", "/files/g", version="HTTP/2.0"), 400, "malformed-request"),
    "HTTP/3.0": (request("DELETE", "/files/g", version="HTTP/3.0"), 400, "malformed-request"),
    "RTSP": (request("DELETE", "/files/g", version="RTSP/1.1"), 400, "malformed-request"),
    "ICE": (request("DELETE", "/files/g", version="ICE/1.0"), 400, "malformed-request"),
    "no version's number": (request("DELETE", "/files/g", version=f"HTTP/{SECRET}"), 400, "malformed-request"),
    "version in small letters": (request("DELETE", "/files/g", version="http/1.1"), 400, "malformed-request"),
    "no request": (f"{SECRET}\r\n\r\n".encode(), 400, "malformed-request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40 + b"\r\n\r\n", 400, "malformed-request"),
    "no length": (request("PUT", "/files/g", None, f"Content-Length: {SECRET}"), 400, "malformed-request"),
    "no header": (request("DELETE", "/files/g", None, f"X {SECRET}"), 400, "malformed-request"),
    "two lengths": (request("PUT", "/files/g", b"1", "Content-Length: 3"), 400, "malformed-request"),
    "a length and a coding": (
        request("PUT", "/files/g", b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        400,
        "malformed-request",
    ),
    "no host": (b"DELETE /files/g HTTP/1.1\r\n\r\n", 400, "malformed-request"),
    "two hosts": (request("DELETE", "/files/g", None, "Host: a", f"Host: {SECRET}"), 400, "malformed-request"),
    "large head": (
        request("DELETE", "/files/g", None, *[f"X-{number}: {SECRET}{'x' * 4000}" for number in range(17)]),
        431,
        "headers-too-large",
    ),
    "many small lines": (
        request("DELETE", "/files/g", None, *[f"X-{number}: {SECRET}" for number in range(5000)]),
        431,
        "headers-too-large",
    ),
    "one long line": (request("DELETE", "/files/g", None, f"X: {SECRET}{'x' * 70_000}"), 431, "headers-too-large"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_no_request_of_ours_is_refused_as_a_problem(server, case):
    """In our own form, with nothing of what was sent, nothing done, and the end of the connection."""
    sent, status, code = REFUSED[case]
    async with connected(server.url) as line:
        await line.send(sent)
        reply = await line.reply()
        assert reply is not None, "no answer"
        assert (reply.status, reply.code) == (status, code)
        assert reply["Connection"] == "close"
        assert reply["X-Content-Type-Options"] == "nosniff"
        assert SECRET not in reply.body.decode().lower()
        assert await line.ended()
    assert (server.root / "g").read_bytes() == b"12345"


@pytest.mark.parametrize("version", ["HTTP/1.2", "HTTP/1.9"])
@pytest.mark.parametrize(("method", "target", "body"), [("GET", "/files/g", None), ("PUT", "/files/h", b"new")])
async def test_a_later_minor_version_is_processed_as_ours(server, version, method, target, body):
    """It may be read as the highest that we know (RFC 9110, 2.5), and its connection goes on."""
    async with connected(server.url) as line:
        await line.send(request(method, target, body, version=version))
        reply = await line.reply()
        assert reply is not None
        assert reply.status == (200 if body is None else 201)
        assert reply.body == b"12345" or body
        await line.send(request("GET", "/healthz"))
        assert (await line.reply()).status == 200


async def test_a_head_is_bounded_while_it_has_no_end(server):
    """It is refused when it is too large, and not when it is whole; what many of them take is let go at once."""
    before = server.memory()
    start = request("GET", "/healthz")[:-2]
    lines = [f"X-{number}: {'x' * 8000}\r\n".encode() for number in range(120)]
    replies = [await ask(server.url, start, *lines) for _ in range(30)]
    assert {(reply.status, reply.code) for reply in replies if reply} == {(431, "headers-too-large")}
    await eventually(lambda: server.memory() - before < 8 * MIB, "memory as before", 5)


async def test_the_log_says_it_in_one_line(server):
    """Without a word of what was sent, and without a traceback."""
    await ask(server.url, f"{SECRET} {SECRET}\r\n\r\n".encode())
    reply = await ask(server.url, request("GET", f"/{SECRET}{'x' * 9000}"))
    assert reply.status == 414
    assert SECRET not in server.log.read_text()
