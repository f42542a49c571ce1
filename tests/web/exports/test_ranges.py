"""GET, HEAD and PUT /files/{name}, and ranges of an export: conditional, resumable, byte-exact."""

import asyncio
import email
import hashlib
import os
from base64 import b64encode

import pytest

from headgate import State
from support import as_user, eventually, serving, token_users

DATA = os.urandom(300_000)


async def rows():
    yield b"row\n"


@pytest.fixture(params=["GET", "POST"])
async def asking(request, server, root):
    """Asks for the file `f`, by either call; returns status, headers and body."""
    (root / "f").write_bytes(DATA)
    os.utime(root / "f", (1_700_000_000, 1_700_000_000))  # old enough for its date to tell it from others

    async def ask(**headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if request.param == "GET":
            call = server.client.get(server.url + "/files/f", headers=headers)
        else:
            call = server.client.post(server.url + "/export", json={"filename": "f"}, headers=headers)
        async with call as response:
            return response.status, response.headers, await response.read()

    return ask


async def call(server, method, path, **kwargs):
    async with server.client.request(method, server.url + path, **kwargs) as response:
        return response.status, response.headers, await response.read()


async def test_a_file_is_told_with_its_validators(asking, server):
    """A strong tag, a date, that ranges are served; nothing that would run in a browser."""
    status, headers, body = await asking()
    assert (status, body) == (200, DATA)
    assert headers["ETag"].startswith('"')
    assert headers["Last-Modified"].endswith("GMT")
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["Content-Security-Policy"].startswith("sandbox")
    job = server.infos()[0]
    assert (job.kind, job.state, job.bytes_done) == ("export", State.COMPLETED, len(DATA))


@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-", 100_000, 300_000),
        ("bytes=-17", 299_983, 300_000),
        ("bytes=5-299998", 5, 299_999),
        ("bytes=299999-400000", 299_999, 300_000),
    ],
)
async def test_a_range_is_sent_byte_exact(asking, server, range_, start, end):
    """206, with where it lies; the job has moved as many bytes."""
    status, headers, body = await asking(Range=range_)
    assert (status, body) == (206, DATA[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert headers["Content-Length"] == str(end - start)
    job = server.infos()[0]
    assert (job.bytes_total, job.bytes_done) == (end - start, end - start)


async def test_several_ranges_are_sent_in_parts(asking):
    """multipart/byteranges, which any parser of parts takes apart."""
    status, headers, body = await asking(Range="bytes=0-9,100000-199999,-5")
    assert status == 206
    message = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    assert message.get_content_type() == "multipart/byteranges"
    parts = message.get_payload()
    assert [part["Content-Range"] for part in parts] == [
        "bytes 0-9/300000",
        "bytes 100000-199999/300000",
        "bytes 299995-299999/300000",
    ]
    boundary = message.get_boundary().encode()
    raw = [piece.split(b"\r\n\r\n", 1)[1] for piece in body.split(b"\r\n--" + boundary)[1:-1]]
    assert raw == [DATA[:10], DATA[100_000:200_000], DATA[-5:]]
    assert body.endswith(b"\r\n--" + boundary + b"--\r\n")


async def test_a_range_outside_is_refused_with_the_size(asking):
    status, headers, _ = await asking(Range="bytes=300000-")
    assert (status, headers["Content-Range"]) == (416, "bytes */300000")


@pytest.mark.parametrize("range_", ["bytes=x", "lines=0-1", "bytes=0-10,5-20", "bytes=" + ",".join(["0-0"] * 100)])
async def test_what_is_no_range_is_answered_with_the_whole(asking, range_):
    assert (await asking(Range=range_))[::2] == (200, DATA)


async def test_a_resumed_download_is_of_one_file_or_begins_anew(asking, root):
    """If-Range: a range of what the client has, and the whole of what has come in its place."""
    _, headers, _ = await asking()
    for known in (headers["ETag"], headers["Last-Modified"]):
        assert (await asking(Range="bytes=299990-", If_Range=known))[::2] == (206, DATA[-10:])
    other = DATA[::-1]
    (root / "new").write_bytes(other)
    os.utime(root / "new", (1, 1))
    (root / "new").rename(root / "f")
    for known in (headers["ETag"], headers["Last-Modified"]):
        assert (await asking(Range="bytes=299990-", If_Range=known))[::2] == (200, other)
        assert (await asking(Range="bytes=0-1", If_Match=headers["ETag"]))[0] == 412


async def test_what_a_client_has_is_not_sent_again(server, root):
    """304 for GET and HEAD, with the validators and no job."""
    (root / "f").write_bytes(DATA)
    os.utime(root / "f", (1_700_000_000, 1_700_000_000))  # old enough for its date to tell it from others
    _, headers, _ = await call(server, "HEAD", "/files/f")
    for condition in ({"If-None-Match": headers["ETag"]}, {"If-Modified-Since": headers["Last-Modified"]}):
        for method in ("GET", "HEAD"):
            status, told, body = await call(server, method, "/files/f", headers=condition)
            assert (status, body) == (304, b"")
            assert told["ETag"] == headers["ETag"]
    assert not server.infos()


async def test_head_says_what_get_would_without_a_job(root):
    async with serving(root, exports={"rows.csv": rows}) as server:
        (root / "f").write_bytes(DATA)
        status, headers, body = await call(server, "HEAD", "/files/f")
        assert (status, headers["Content-Length"], body) == (200, "300000", b"")
        assert headers["Accept-Ranges"] == "bytes"
        assert (await call(server, "HEAD", "/files/rows.csv"))[0] == 200
        assert (await call(server, "HEAD", "/files/nothing"))[0] == 404
        assert (await call(server, "HEAD", "/files/..%2Fx"))[0] == 422
        assert not server.infos()
        assert (await call(server, "GET", "/files/rows.csv"))[::2] == (200, b"row\n")


async def test_a_file_is_put_and_replaced(server):
    """201 when there was none, 200 when there was; its new validator is told, and is the one that GET tells."""
    for number, (status, data) in enumerate([(201, b"one"), (200, b"two")], 1):
        got, headers, body = await call(server, "PUT", "/files/a%20b", data=data)
        assert (got, b'"files": [{"name": "a b", "size": 3}]' in body) == (status, True)
        told = await call(server, "GET", "/files/a%20b")
        assert (told[2], told[1]["ETag"]) == (data, headers["ETag"])
        assert sum(job.kind == "upload" for job in server.infos()) == number
    assert server.staged() == []


async def test_a_put_of_unknown_length_is_whole_too(server):
    async def body():
        for _ in range(10):
            yield DATA

    assert (await call(server, "PUT", "/files/a", data=body()))[0] == 201
    assert server.published()["a"] == DATA * 10


async def test_a_put_is_conditional(server):
    """Create only, replace only this, or not at all; what fails already is refused before the body."""
    status, headers, _ = await call(server, "PUT", "/files/a", data=b"1", headers={"If-None-Match": "*"})
    assert status == 201
    for condition in (
        {"If-None-Match": "*"},
        {"If-Match": '"other"'},
        {"If-None-Match": headers["ETag"]},
        {"If-Unmodified-Since": "Sat, 31 Jan 2015 12:00:00 GMT"},
    ):
        status, _, body = await call(server, "PUT", "/files/a", data=b"2", headers=condition)
        assert (status, b"precondition-failed" in body) == (412, True), condition
    assert server.published() == {"a": b"1"}
    status, _, _ = await call(server, "PUT", "/files/a", data=b"3", headers={"If-Match": headers["ETag"]})
    assert (status, server.published()) == (200, {"a": b"3"})
    assert (await call(server, "PUT", "/files/b", data=b"", headers={"If-Match": "*"}))[0] == 412
    assert (await call(server, "DELETE", "/files/a", headers={"If-Match": headers["ETag"]}))[0] == 412
    assert server.published() == {"a": b"3"}


@pytest.mark.parametrize("condition", ["If-Match", "If-None-Match"])
async def test_a_condition_is_held_when_the_file_gets_its_name(root, regime, condition):
    """Whatever came between the first look and the last byte: 412, and what came stays."""
    async with serving(root, handler_cancellation=regime) as server:
        headers = {"If-None-Match": "*"}
        if condition == "If-Match":
            _, told, _ = await call(server, "PUT", "/files/a", data=b"first")
            headers = {"If-Match": told["ETag"]}
        go = asyncio.Event()

        async def body():
            yield b"some"
            await go.wait()

        put = asyncio.create_task(call(server, "PUT", "/files/a", data=body(), headers=headers))
        await eventually(lambda: server.jobs.live() and server.jobs.live()[0].bytes_done, "some bytes")
        assert (await server.upload("a", b"meanwhile")).status == (409 if condition == "If-Match" else 201)
        await server.client.put(server.url + "/files/a", data=b"meanwhile")
        go.set()
        assert (await put)[0] == 412
        assert server.published() == {"a": b"meanwhile"}
        assert server.staged() == []


async def test_a_put_is_a_job_like_any_other(root, regime):
    """Named, paused, terminated: 409 to its own client, nothing left."""
    async with serving(root, handler_cancellation=regime, authenticate=token_users) as server:

        async def body():
            while True:
                yield DATA
                await asyncio.sleep(0)

        id_ = "5b3a92ef-71ee-4215-bb19-86e2eb692532"
        headers = as_user("alice") | {"Job-Id": id_}
        put = asyncio.create_task(call(server, "PUT", "/files/a", data=body(), headers=headers))
        job = await server.one_live_job()
        assert (str(job.id), job.owner, job.names) == (id_, "alice", ("a",))
        paused = {"json": {"state": "paused"}, "headers": as_user("alice")}
        assert (await call(server, "PATCH", f"/jobs/{id_}", **paused))[0] == 200
        assert (await call(server, "DELETE", "/upload/terminate", headers=as_user("alice")))[0] == 200
        status, _, answer = await put
        assert (status, b'"terminated"' in answer) == (409, True)
        assert server.staged() == []


async def test_what_cannot_be_put_is_refused(root):
    async with serving(root, config={"max_file_size": 1000}, exports={"rows.csv": rows}) as server:
        digest = b64encode(hashlib.sha256(b"other").digest()).decode()
        for path, headers, size, status, code in (
            ("a", {}, 1001, 413, "too-large"),
            ("..%2Fa", {}, 1, 422, "invalid-name"),
            ("a", {"Content-Range": "bytes 0-0/5"}, 1, 400, "malformed-request"),
            ("a", {"Content-Encoding": "gzip"}, 1, 415, "unsupported-media"),
            ("a", {"Content-Digest": f"sha-256=:{digest}:"}, 5, 400, "digest-mismatch"),
            ("a", {"Repr-Digest": "sha-256=:AAAA:"}, 5, 400, "malformed-request"),
            ("rows.csv", {}, 1, 409, "name-taken"),
        ):
            got, _, body = await call(server, "PUT", f"/files/{path}", data=b"x" * size, headers=headers)
            assert (got, code in body.decode()) == (status, True), (path, headers)
        assert server.published() == {}
        assert server.staged() == []


async def test_a_digest_that_is_right_is_told_again(server):
    digest = f"sha-256=:{b64encode(hashlib.sha256(b'abc').digest()).decode()}:"
    headers = {"Repr-Digest": digest, "Want-Repr-Digest": "sha-256=1"}
    status, _, body = await call(server, "PUT", "/files/a", data=b"abc", headers=headers)
    assert (status, digest in body.decode()) == (201, True)
