"""Resumable uploads of the IETF, line by line: what the draft asks of a server, as requests and their answers."""

import asyncio
import hashlib
import json
import re
from base64 import b64encode

import pytest

from support import FORM, as_user, eventually, file_form, serving, token_users
from tus import held, job_id, named

APPEND = {"Content-Type": "application/partial-upload"}
MORE, LAST = {"Upload-Complete": "?0"}, {"Upload-Complete": "?1"}
NEVER = "/uploads/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11"
TYPES = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture
async def server(root, regime):
    config = {"max_file_size": 10**6, "watch_interval": 0.05}
    async with serving(root, handler_cancellation=regime, config=config) as server:
        yield server


async def call(server, method, url, headers=None, data=None):
    where = url if "://" in url else server.url + url
    async with server.client.request(
        method, where, headers=headers, data=data, skip_auto_headers=["Content-Type"]
    ) as response:
        return response.status, response.headers, await response.read()


async def create(server, data=b"", complete=MORE, **headers):
    status, told, _ = await call(server, "POST", "/upload?filename=a", complete | headers, data)
    assert (status, told["Upload-Complete"]) == (201, complete["Upload-Complete"])
    return told["Location"]


async def append(server, url, offset, data, complete=MORE, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(server, "PATCH", url, APPEND | complete | {"Upload-Offset": str(offset)} | headers, data)


async def offset(server, url):
    status, told, _ = await call(server, "HEAD", url)
    assert status == 204
    return int(told["Upload-Offset"])


def repr_digest(data):
    return f"sha-256=:{b64encode(hashlib.sha256(data).digest()).decode()}:"


async def exchange(server, request, until):
    """Send `request` as it is, and read what comes until `until` is in it; the connection stays open till then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    got = b""
    async with asyncio.timeout(20):
        while not re.search(until, got):
            more = await reader.read(65536)
            assert more, got
            got += more
    writer.close()
    return got.decode()


# Creation.


async def test_what_comes_whole_is_answered_as_a_plain_upload(server):
    """201 with the job and its file, and Upload-Complete: ?1."""
    status, told, body = await call(server, "POST", "/upload?filename=a", LAST, b"12345")
    assert (status, told["Upload-Complete"], told["Upload-Offset"]) == (201, "?1", "5")
    job = json.loads(body)
    assert (job["state"], job["files"]) == ("completed", [{"name": "a", "size": 5}])
    assert told["Location"] == f"/jobs/{job['id']}"
    assert server.published() == {"a": b"12345"}


async def test_what_comes_in_part_is_told_where_to_go_on(server):
    status, told, _ = await call(server, "POST", "/upload", MORE | {"Upload-Length": "10"}, b"12345")
    assert (status, told["Upload-Complete"], told["Upload-Offset"]) == (201, "?0", "5")
    assert told["Location"].startswith(server.url + "/uploads/")
    assert re.fullmatch(r"max-size=1000000, max-age=8\d{4}", told["Upload-Limit"])
    assert server.published() == {}


@pytest.mark.parametrize("complete", [MORE, LAST])
async def test_a_creation_may_bring_nothing(server, complete):
    """Either way: the whole is empty, or is to come."""
    url = await create(server, b"", complete)
    assert server.published() == ({"a": b""} if complete is LAST else {})
    if complete is MORE:
        assert await offset(server, url) == 0


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('inline; filename="b c.txt"', "b c.txt"),
        ("inline; filename=x; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("attachment", "a"),
        (None, "a"),
    ],
)
async def test_the_name_comes_as_content_disposition_or_in_the_query(server, disposition, name):
    await create(server, b"1", LAST, **({} if disposition is None else {"Content-Disposition": disposition}))
    assert list(server.published()) == [name]


async def test_without_a_name_the_file_is_called_as_the_upload(server):
    _, _, body = await call(server, "POST", "/upload", LAST, b"1")
    assert list(server.published()) == [json.loads(body)["id"]]


@pytest.mark.parametrize("bad", ["1", "?2", "true", "?1, ?0", '"?1"', "?", ""])
async def test_a_field_that_does_not_parse_is_as_if_it_were_not_there(server, bad):
    """A raw body without it is no upload of ours; a form is the form that it was."""
    status, told, _ = await call(server, "POST", "/upload", {"Upload-Complete": bad}, b"12345")
    assert (status, "Upload-Complete" in told) == (415, False)
    url = await create(server)
    assert (await append(server, url, 0, b"1", {"Upload-Complete": bad}))[0] == 400
    assert (await append(server, url, 0, b"1", Upload_Offset=bad or "x"))[0] == (409 if bad == "1" else 400)
    assert (await append(server, url, 0, b"1", LAST, Upload_Length=bad if bad != "1" else "one"))[0] == 201


async def test_parameters_of_a_field_mean_nothing(server):
    url = await create(server, b"12", {"Upload-Complete": "?0"})
    status, _, _ = await append(server, url, 2, b"3", {"Upload-Complete": "?1;a=b;c"}, Upload_Offset="2;x")
    assert status == 201
    assert server.published() == {"a": b"123"}


async def test_a_form_stays_a_form(server):
    headers = FORM | LAST | {"Upload-Draft-Interop-Version": "8"}
    status, told, _ = await call(server, "POST", "/upload", headers, file_form("b", b"1"))
    assert (status, "Upload-Complete" in told) == (201, False)
    assert server.published() == {"b": b"1"}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (LAST | {"Upload-Length": "4"}, 400, "inconsistent-upload-length"),
        (LAST | {"Upload-Length": "6"}, 400, "inconsistent-upload-length"),
        (MORE | {"Upload-Length": "1000001"}, 413, "too-large"),
        (MORE | {"Content-Encoding": "gzip"}, 415, "unsupported-media"),
        (MORE | {"Content-Disposition": 'inline; filename="../x"'}, 422, "invalid-name"),
        (MORE | {"Repr-Digest": "sha-256=x"}, 400, "malformed-request"),
        (LAST | {"Repr-Digest": repr_digest(b"other")}, 400, "digest-mismatch"),
        (LAST | {"Content-Digest": repr_digest(b"other")}, 400, "digest-mismatch"),
        (MORE | {"Job-Id": "x"}, 400, "malformed-request"),
    ],
)
async def test_a_creation_that_is_not_right_is_refused_and_leaves_nothing(server, headers, status, code):
    answer, _, body = await call(server, "POST", "/upload?filename=a", headers, b"12345")
    assert (answer, json.loads(body)["code"]) == (status, code)
    if code == "inconsistent-upload-length":
        assert json.loads(body)["type"] == TYPES + code
    await eventually(lambda: not server.jobs.live())
    assert server.staged() == []


# 104.


def creation(version=b"", body=b"12345", more=b""):
    return (
        b"POST /upload?filename=a HTTP/1.1\r\nHost: h\r\nUpload-Complete: ?1\r\nContent-Length: 10\r\n"
        + (b"Upload-Draft-Interop-Version: " + version + b"\r\n" if version else b"")
        + (more + b"\r\n" + body)
    )


@pytest.mark.parametrize("version", [b"3", b"5", b"6", b"8", b"9"])
async def test_who_speaks_a_version_is_told_early_where_to_resume_and_then_how_far_it_is(server, version):
    """A 104 with Location and limits before any byte is read; another with the offset, which is kept."""
    sent = creation(version)
    if version == b"3":
        sent = sent.replace(b"Upload-Complete: ?1", b"Upload-Incomplete: ?0")
    got = await exchange(server, sent, rb"Upload-Offset: 5\r\n")
    first, second = got.split("\r\n\r\n")[:2]
    assert first.startswith("HTTP/1.1 104 Upload Resumption Supported\r\n")
    assert f"Upload-Draft-Interop-Version: {version.decode()}" in first
    assert re.search(r"\r\nLocation: http://h/uploads/[0-9a-f-]{36}", first)
    assert ("Upload-Limit" in first) == (version not in (b"3", b"5"))
    assert ("expires=" in first) == (version == b"6")
    assert second.startswith("HTTP/1.1 104 ")
    assert "Location" not in second
    path = re.search(r"http://h(/uploads/\S+)", first)[1]
    assert await offset(server, path) == 5


@pytest.mark.parametrize("version", [b"", b"7", b"99", b"x", b"8.0"])
async def test_nobody_else_is_sent_a_104(server, version):
    got = await exchange(server, creation(version, b"1234567890"), rb"\r\n\r\n")
    assert got.startswith("HTTP/1.1 201 ")


async def test_a_104_does_not_take_the_place_of_a_100(server):
    got = await exchange(server, creation(b"8", b"", b"Expect: 100-continue\r\n"), rb"100 Continue")
    assert got.index(" 104 ") < got.index(" 100 ")


async def test_versions_that_are_not_served_are_no_versions(root):
    async with serving(root, config={"interop_versions": {8}}) as server:
        assert (await exchange(server, creation(b"6", b"1234567890"), rb"\r\n\r\n")).startswith("HTTP/1.1 201 ")
        (server.root / "a").unlink()
        assert " 104 " in await exchange(server, creation(b"8", b""), rb"\r\n\r\n")


# Offset retrieval.


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_the_state_of_an_upload_is_told(server, method):
    """Offset, completeness, length if it is known, limits; never to be cached. Of a complete one, too."""
    url = await create(server, b"123")
    status, told, body = await call(server, method, url)
    assert (status, body) == (204, b"")
    assert (told["Upload-Offset"], told["Upload-Complete"]) == ("3", "?0")
    assert "Upload-Length" not in told
    assert re.fullmatch(r"max-size=1000000, max-age=8\d{4}", told["Upload-Limit"])
    assert told["Cache-Control"] == "no-store"
    await append(server, url, 3, b"45", LAST, Upload_Length="5")
    status, told, _ = await call(server, method, url)
    assert (status, told["Upload-Offset"], told["Upload-Complete"], told["Upload-Length"]) == (204, "5", "?1", "5")
    assert told["Upload-Limit"] == "max-size=1000000"


@pytest.mark.parametrize("headers", [{"Upload-Offset": "3"}, MORE, LAST])
async def test_who_asks_must_not_tell(server, headers):
    url = await create(server, b"123")
    assert (await call(server, "HEAD", url, headers))[0] == 400


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE"])
async def test_what_never_was_is_not_found(server, method):
    assert (await call(server, method, NEVER, APPEND | MORE if method == "PATCH" else None))[0] == 404


async def test_the_other_protocols_uploads_are_not_found(server):
    """An upload speaks what it was created in."""
    url = await create(server, b"123")
    tus = {"Tus-Resumable": "1.0.0"}
    assert (await call(server, "HEAD", f"/tus/{job_id(url)}", tus))[0] == 404
    _, told, _ = await call(server, "POST", "/tus/", tus | {"Upload-Length": "5"} | named("b"))
    assert (await call(server, "HEAD", f"/uploads/{job_id(told['Location'])}"))[0] == 404


async def test_options_tell_the_limits(server):
    for path in ("/upload", NEVER):
        status, told, _ = await call(server, "OPTIONS", path)
        assert (status, told["Upload-Limit"]) == (204, "max-size=1000000, max-age=86400")


# Append.


@pytest.mark.parametrize("version", [None, "3", "5", "6", "8", "9"])
async def test_bytes_are_appended_until_the_last(server, version):
    """An append says how far the upload is; the last is answered as the plain upload."""
    spoken = {} if version is None else {"Upload_Draft_Interop_Version": version}
    more, last = (MORE, LAST) if version != "3" else ({"Upload-Incomplete": "?1"}, {"Upload-Incomplete": "?0"})
    first = more | {name.replace("_", "-"): value for name, value in spoken.items()}
    _, told, _ = await call(server, "POST", "/upload?filename=a", first, b"12")
    url = told["Location"]
    status, told, _ = await append(server, url, 2, b"345", more, **spoken)
    assert (status, told["Upload-Offset"]) == (204 if version in (None, "8", "9") else 201, "5")
    assert (told.get("Upload-Complete"), told.get("Upload-Incomplete")) == (
        (None, "?1") if version == "3" else ("?0", None)
    )
    status, told, body = await append(server, url, 5, b"6", last, **spoken)
    assert (status, json.loads(body)["files"]) == (201, [{"name": "a", "size": 6}])
    assert (told.get("Upload-Complete"), told.get("Upload-Incomplete")) == (
        (None, "?0") if version == "3" else ("?1", None)
    )
    assert server.published() == {"a": b"123456"}


async def test_a_length_that_is_reached_does_not_complete(server):
    """Only who sends says that it was the last; then nothing more need come."""
    url = await create(server, b"12", **{"Upload-Length": "5"})
    assert (await append(server, url, 2, b"345"))[0] == 204
    assert server.published() == {}
    assert (await append(server, url, 5, b"", LAST))[0] == 201
    assert server.published() == {"a": b"12345"}


@pytest.mark.parametrize("version", ["5", "6"])
async def test_but_it_does_for_early_versions(server, version):
    """Their clients in the field leave the last word out."""
    spoken = {"Upload-Draft-Interop-Version": version, "Upload-Length": "5"}
    url = await create(server, b"12", **spoken)
    status, told, _ = await append(server, url, 2, b"345", Upload_Draft_Interop_Version=version)
    assert (status, told["Upload-Complete"]) == (201, "?1")
    assert server.published() == {"a": b"12345"}


@pytest.mark.parametrize("type_", [None, "application/octet-stream", "application/offset+octet-stream"])
async def test_what_is_appended_has_its_type(server, type_):
    """But in versions that did not know it."""
    url = await create(server)
    headers = {} if type_ is None else {"Content-Type": type_}
    headers |= MORE | {"Upload-Offset": "0"}
    assert (await call(server, "PATCH", url, headers, b"1"))[0] == 415
    assert (await call(server, "PATCH", url, headers | {"Upload-Draft-Interop-Version": "5"}, b"1"))[0] == 201


async def test_another_offset_is_refused_with_the_right_one(server):
    """409, as a problem of the registered type; nothing changes."""
    url = await create(server, b"123")
    for wrong in (0, 2, 4):
        status, told, body = await append(server, url, wrong, b"45")
        assert (status, told["Upload-Offset"], told["Upload-Complete"]) == (409, "3", "?0")
        problem = json.loads(body)
        assert problem["type"] == TYPES + "mismatching-upload-offset"
        assert (problem["expected-offset"], problem["provided-offset"]) == (3, wrong)
    assert (await append(server, url, 3, b"45", LAST))[0] == 201


@pytest.mark.parametrize("missing", ["Upload-Offset", "Upload-Complete"])
async def test_an_append_needs_both_fields(server, missing):
    url = await create(server)
    headers = APPEND | MORE | {"Upload-Offset": "0"}
    del headers[missing]
    assert (await call(server, "PATCH", url, headers, b"1"))[0] == 400


async def test_the_final_answer_is_given_again_to_who_did_not_get_it(server):
    """The same answer; a request that adds to a complete upload is refused with its offset."""
    url = await create(server, b"123")
    first = await append(server, url, 3, b"45", LAST)
    again = await append(server, url, 5, b"", LAST)
    assert (again[0], again[1]["Upload-Complete"], json.loads(again[2])) == (201, "?1", json.loads(first[2]))
    for where, data in ((3, b"45"), (5, b"6"), (0, b"")):
        status, told, _ = await append(server, url, where, data, LAST)
        assert (status, told["Upload-Offset"], told["Upload-Complete"]) == (409, "5", "?0")


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_than_the_length_ends_the_upload(server, chunked):
    async def pieces():
        yield b"45"
        yield b"678"

    url = await create(server, b"123", **{"Upload-Length": "6"})
    status, _, _ = await append(server, url, 3, pieces() if chunked else b"45678")
    assert status == 413
    assert (await call(server, "HEAD", url))[0] == 410
    assert server.staged() == []


async def test_more_than_may_be_ends_the_upload_and_tells_the_limit(server):
    url = await create(server, b"123")
    status, told, _ = await append(server, url, 3, b"x" * 10**6)
    assert (status, told["Upload-Limit"].split(",")[0]) == (413, "max-size=1000000")
    assert (await call(server, "HEAD", url))[0] == 410


@pytest.mark.parametrize(
    ("data", "complete", "length"),
    [(b"45", LAST, "6"), (b"45", MORE, "9"), (b"4567", LAST, None), (b"4", LAST, None), (b"", MORE, "2")],
)
async def test_lengths_that_do_not_agree_are_refused(server, data, complete, length):
    """And nothing of it is taken."""
    url = await create(server, b"123", **({"Upload-Length": "5"}))
    headers = {} if length is None else {"Upload_Length": length}
    status, told, body = await append(server, url, 3, data, complete, **headers)
    assert (status, json.loads(body)["type"]) == (400, TYPES + "inconsistent-upload-length")
    assert told["Upload-Complete"] == "?0"
    assert (await append(server, url, 3, b"45", LAST))[0] == 201


async def test_content_with_another_digest_is_not_appended(server):
    url = await create(server, b"123")
    status, _, body = await append(server, url, 3, b"45", Content_Digest=repr_digest(b"54"))
    assert (status, json.loads(body)["code"]) == (400, "digest-mismatch")
    assert await offset(server, url) == 3
    assert (await append(server, url, 3, b"45", LAST, Content_Digest=repr_digest(b"45")))[0] == 201


async def test_a_digest_of_the_whole_is_held_against_it_at_the_end(server):
    """And one is told if it is wanted."""
    for data, status in ((b"12345", 201), (b"12346", 400)):
        url = await create(server, b"123", **{"Repr-Digest": repr_digest(b"12345"), "Want-Repr-Digest": "sha-256=1"})
        got, told, body = await append(server, url, 3, data[3:], LAST)
        assert (got, told["Upload-Complete"]) == (status, "?1")
        if status == 201:
            assert json.loads(body)["files"][0]["repr_digest"] == repr_digest(data)
            (server.root / "a").unlink()
        else:
            assert (await call(server, "HEAD", url))[0] == 410
    assert not [name for name in server.staged() if name.endswith(".kept")]


# Cancellation, concurrency, access.


async def test_a_cancelled_upload_is_gone(server):
    url = await create(server, b"123")
    assert (await call(server, "DELETE", url))[0] == 204
    assert server.staged() == []
    for method in ("HEAD", "PATCH", "DELETE"):
        assert (await call(server, method, url))[0] == 410


async def test_a_complete_upload_that_is_deleted_leaves_its_file(server):
    url = await create(server, b"123")
    await append(server, url, 3, b"", LAST)
    assert (await call(server, "DELETE", url))[0] == 204
    assert (await call(server, "HEAD", url))[0] == 404
    assert server.published() == {"a": b"123"}


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
async def test_a_newer_request_ends_the_older_one(server, method):
    """First: what it sent is kept, and its offset can be relied on."""
    url = await create(server)
    job = await server.one_live_job()
    with held(b"12345") as body:
        older = asyncio.create_task(append(server, url, 0, body))
        await eventually(lambda: job.bytes_done == 5)
        if method == "PATCH":
            status, told, _ = await append(server, url, 5, b"67", MORE)
            assert (status, told["Upload-Offset"]) == (204, "7")
        elif method == "HEAD":
            assert await offset(server, url) == 5
        else:
            assert (await call(server, "DELETE", url))[0] == 204
        status, _, refusal = await older
    assert (status, json.loads(refusal)["code"]) == ((410, "terminated") if method == "DELETE" else (409, "superseded"))


async def test_a_strangers_upload_is_one_that_never_was(root, regime):
    async with serving(root, handler_cancellation=regime, authenticate=token_users) as server:
        url = await create(server, b"123", **as_user("alice"))
        for method in ("HEAD", "PATCH", "DELETE"):
            assert (await call(server, method, url, as_user("bob")))[0] == 404
            assert (await call(server, method, url))[0] == 401
        assert (await call(server, "HEAD", url, as_user("alice")))[0] == 204
