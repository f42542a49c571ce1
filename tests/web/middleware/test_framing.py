"""Transfer codings (RFC 9112, 6.1): a body with a transfer coding other than chunked is refused."""

import pytest

import tus
from raw import ask, connected, request
from support import BOUNDARY, file_form, serving

PART = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
BYTES = ("Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream")

#: Every call that reads a body, and some that need none.
CALLS = {
    "form": ("POST", "/upload", (PART,)),
    "raw": ("PUT", "/files/a", ()),
    "ietf": ("POST", "/upload?filename=a", ("Upload-Complete: ?1",)),
    "tus": ("POST", "/tus/", ("Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream")),
    "export": ("POST", "/export", ("Content-Type: application/json",)),
    "job": ("PATCH", "/jobs/5b3a92ef-71ee-4215-bb19-86e2eb692532", ("Content-Type: application/json",)),
    "list": ("GET", "/files", ()),
    "delete": ("DELETE", "/files/there", ()),
    "health": ("GET", "/healthz", ()),
    "nothing": ("POST", "/nothing/here", ()),
}


@pytest.fixture(params=["", "/mounted/here"])
async def server(root, request):
    async with serving(root, prefix=request.param, config={"idle_timeout": 3.0}) as server:
        (root / "there").write_bytes(b"there")
        yield server


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def coded(server, call, *codings):
    method, path, lines = CALLS[call]
    codings = [f"Transfer-Encoding: {coding}" for coding in codings]
    return request(method, server.path + path, None, *lines, *codings) + chunked(file_form("a", b"coded"))


@pytest.mark.parametrize("coding", ["gzip, chunked", "cow, chunked"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_coding_that_we_do_not_know_is_not_implemented(server, call, coding):
    """501 on every path, before anything is done; the connection ends, for its rest cannot be told apart."""
    async with connected(server.url) as line:
        await line.send(coded(server, call, coding))
        reply = await line.reply()
        assert (reply.status, reply.code) == (501, "not-implemented")
        assert reply["Connection"] == "close"
        assert reply["X-Content-Type-Options"] == "nosniff"
        assert b"cow" not in reply.body
        assert await line.ended()
    assert server.published() == {"there": b"there"}
    assert not server.infos()


@pytest.mark.parametrize(
    "codings",
    [
        ("deflate , chunked",),
        ("identity, chunked",),
        ('x;q="a,b", chunked',),
        (",gzip,,chunked",),
        ("GZIP, Chunked",),
        ("chunked;a=b, chunked",),
    ],
)
@pytest.mark.parametrize("call", ["form", "raw"])
async def test_however_it_is_written(server, call, codings):
    """On two lines, in other letters, among empty ones: nothing of a coded body is stored."""
    reply = await ask(server.url, coded(server, call, *codings))
    assert reply.status in (400, 501)
    assert server.published() == {"there": b"there"}


@pytest.mark.parametrize("coding", ["gzip, chunked", "cow, chunked"])
async def test_bytes_of_a_resumable_upload_may_not_be_coded_either(server, coding):
    """It has what it had, and goes on."""
    url = await tus.create(server, 5)
    path = url.removeprefix(server.url.removesuffix(server.path))
    lines = (*BYTES, "Upload-Offset: 0", f"Transfer-Encoding: {coding}")
    reply = await ask(server.url, request("PATCH", path, None, *lines) + chunked(b"12345"))
    assert (reply.status, reply.code) == (501, "not-implemented")
    assert await tus.offset(server, url) == 0
    headers = {"Upload-Complete": "?0"}
    async with server.client.post(server.url + "/upload", headers=headers) as response:
        path = response.headers["Location"].removeprefix(server.url.removesuffix(server.path))
    lines = ("Content-Type: application/partial-upload", "Upload-Complete: ?1", "Upload-Offset: 0")
    reply = await ask(
        server.url, request("PATCH", path, None, *lines, f"Transfer-Encoding: {coding}") + chunked(b"12345")
    )
    assert (reply.status, reply.code) == (501, "not-implemented")
    assert server.published() == {"there": b"there"}


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)])
async def test_it_is_refused_before_the_body_is_asked_for(server, expect):
    """Whoever waits for a word has it; no byte of the body need come."""
    head = request("PUT", server.path + "/files/a", None, "Transfer-Encoding: gzip, chunked", *expect)
    async with connected(server.url) as line:
        await line.send(head)
        answer = await line.reader.readline()
    assert answer.split()[1] == b"501"
