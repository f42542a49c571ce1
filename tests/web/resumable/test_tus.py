"""tus 1.0.0, line by line: what the protocol asks of a server, as requests and their answers."""

import asyncio
import base64
import hashlib
import json
import os
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from support import as_user, eventually, serving, token_users
from tus import BYTES, call, create, held, job_id, named, offset, patch

ALGORITHMS = ("sha1", "sha256", "sha512", "md5")


@pytest.fixture
async def server(root, regime):
    async with serving(root, handler_cancellation=regime, config={"max_file_size": 10**6}) as server:
        yield server


def checksum(algorithm, data):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def is_soon(text):
    """Is it a date about a day from now?"""
    left = parsedate_to_datetime(text) - datetime.now(UTC)
    return timedelta(hours=23) < left < timedelta(hours=25)


# Core.


async def test_options_tell_what_is_served_to_anybody(root):
    """Without a token, without a version, on both kinds of resources; 200, with what may be asked of them."""
    async with serving(root, authenticate=token_users, config={"max_file_size": 12345}) as server:
        for path in ("/tus/", "/tus", "/tus/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11"):
            for version in (None, "0.2.2", "1.0.0"):
                answer = await call(server, "OPTIONS", path, {"Tus-Resumable": version})
                assert answer.status == 200
                assert answer["Tus-Resumable"] == "1.0.0"
                assert ("PATCH" in answer["Allow"]) is (len(path) > 5)
                assert answer["Accept-Patch"] == (BYTES["Content-Type"] if len(path) > 5 else None)
                assert answer["Tus-Version"] == "1.0.0"
                assert answer["Tus-Max-Size"] == "12345"
                assert answer["Tus-Checksum-Algorithm"].split(",") == list(ALGORITHMS)
                extensions = set(answer["Tus-Extension"].split(","))
                assert extensions == {
                    *("creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum"),
                    *("termination", "concatenation", "concatenation-unfinished"),
                }


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "1.0.0, 0.2.2", ""])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
async def test_another_version_is_refused_and_nothing_done(server, method, version):
    """412, with the versions that are served."""
    url = await create(server, 5)
    where = "/tus/" if method == "POST" else url
    headers = BYTES | {"Upload-Offset": "0", "Upload-Length": "5", "Tus-Resumable": version}
    answer = await call(server, method, where, headers, data=b"12345" if method in ("PATCH", "POST") else None)
    assert (answer.status, answer["Tus-Version"], answer["Tus-Resumable"]) == (412, "1.0.0", "1.0.0")
    assert await offset(server, url) == 0
    assert len(server.jobs.live()) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/tus/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11", 404),
        ("PATCH", "/tus/not-an-id", 404),
        ("DELETE", "/tus/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11", 404),
        ("GET", "/tus/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11", 405),
        ("PUT", "/tus/", 405),
        ("POST", "/tus/", 400),
    ],
)
async def test_errors_say_the_version_too_and_no_offset(server, method, path, status):
    answer = await call(server, method, path)
    assert (answer.status, answer["Upload-Offset"]) == (status, None)
    assert answer["Tus-Resumable"] == "1.0.0"


async def test_an_upload_goes_from_creation_to_a_published_file(server):
    """Created, looked at, sent in two pieces, whole; the offset is told each time, and still afterwards."""
    url = await create(server, 10, headers=named("a.txt"))
    assert url.startswith(server.url + "/tus/")
    head = await call(server, "HEAD", url)
    assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "0", "10")
    assert head["Cache-Control"] == "no-store"
    assert (first := await patch(server, url, 0, b"12345")).status == 204
    assert first["Upload-Offset"] == "5"
    assert server.published() == {}
    assert (second := await patch(server, url, 5, b"67890")).status == 204
    assert (second["Upload-Offset"], second["Upload-Expires"]) == ("10", None)
    assert server.published() == {"a.txt": b"1234567890"}
    head = await call(server, "HEAD", url)
    assert (head.status, head["Upload-Offset"], head["Upload-Length"]) == (200, "10", "10")
    (job,) = (await (await server.client.get(server.url + "/jobs")).json())["jobs"]
    assert (job["id"], job["state"], job["names"], job["bytes_done"]) == (job_id(url), "completed", ["a.txt"], 10)
    assert server.staged() == [f"{job_id(url)}.kept.json"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "HEAD"])
async def test_the_method_may_come_in_a_header(server, method):
    url = await create(server, 5)
    headers = BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": method}
    answer = await call(server, "POST", url, headers, data=b"123")
    assert answer.status == {"PATCH": 204, "DELETE": 204, "HEAD": 200}[method]


async def test_no_other_method_comes_with_options(root):
    """Which anybody may send."""
    async with serving(root, authenticate=token_users) as server:
        url = await create(server, 5, headers=as_user("alice"))
        for method in ("PATCH", "DELETE", "HEAD", "POST"):
            for where in (url, "/tus/"):
                answer = await call(server, "OPTIONS", where, {"X-HTTP-Method-Override": method, "Upload-Length": "1"})
                assert (answer.status, answer["Tus-Version"]) == (200, "1.0.0")
        assert (await call(server, "HEAD", url, as_user("alice"))).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/octet-stream"}, 415, "unsupported-media"),
        ({"Content-Type": None}, 415, "unsupported-media"),
        ({"Upload-Offset": "3", "Content-Encoding": "gzip"}, 415, "unsupported-media"),
        ({"Upload-Offset": None}, 400, "malformed-request"),
        *(({"Upload-Offset": bad}, 400, "malformed-request") for bad in ("", "-1", "1.5", "abc", "+3", "3 4", "٣")),
        ({"Upload-Offset": "2"}, 409, "mismatching-upload-offset"),
        ({"Upload-Offset": "4"}, 409, "mismatching-upload-offset"),
        ({"Upload-Offset": "3", "Upload-Length": "9"}, 400, "inconsistent-upload-length"),
        ({"Upload-Offset": "3", "Upload-Checksum": "crc7 YWJj"}, 400, "malformed-request"),
        ({"Upload-Offset": "3", "Upload-Checksum": "sha1 !!!"}, 400, "malformed-request"),
        ({"Upload-Offset": "3", "Upload-Checksum": "sha1 YWJj"}, 460, "checksum-mismatch"),
        ({"Upload-Offset": "3", "Upload-Checksum": "sha1 "}, 400, "malformed-request"),
    ],
)
async def test_a_patch_that_is_not_right_is_refused_and_changes_nothing(server, headers, status, code):
    url = await create(server, 10)
    await patch(server, url, 0, b"123")
    sent = BYTES | headers
    answer = await call(server, "PATCH", url, sent, data=b"45", skip_auto_headers=["Content-Type"])
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
    assert await offset(server, url) == 3
    assert (await patch(server, url, 3, b"4567890")).status == 204


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_bytes_than_the_length_are_refused(server, chunked):
    """413; the offset stays, and the upload can go on."""

    async def pieces():
        for _ in range(4):
            yield b"x" * 3

    url = await create(server, 10)
    await patch(server, url, 0, b"123")
    assert (await patch(server, url, 3, pieces() if chunked else b"x" * 12)).status == 413
    assert await offset(server, url) == 3
    assert (await patch(server, url, 3, b"4567890")).status == 204


async def test_an_empty_patch_at_the_offset_is_fine(server):
    """Before the end, and once more after it: a client that lost the last answer sends it."""
    url = await create(server, 3)
    assert (await patch(server, url, 0, b"")).status == 204
    assert (await patch(server, url, 0, b"123")).status == 204
    assert (again := await patch(server, url, 3, b"")).status == 204
    assert again["Upload-Offset"] == "3"
    assert (await patch(server, url, 3, b"4")).status == 413
    assert (await patch(server, url, 0, b"123")).status == 409


# Creation.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"Upload-Length": "-1"}, 400),
        ({"Upload-Length": "ten"}, 400),
        ({"Upload-Length": "1e3"}, 400),
        ({"Upload-Length": "10", "Upload-Defer-Length": "1"}, 400),
        ({"Upload-Defer-Length": "2"}, 400),
        ({"Upload-Defer-Length": "true"}, 400),
        ({"Upload-Length": "1000001"}, 413),
        ({"Upload-Length": "9" * 30}, 400),
        *(
            ({"Upload-Length": "1", "Upload-Metadata": bad}, 400)
            for bad in ("filename !", "filename YQ", "a YQ==,a YQ==", ",", "a YQ==,", "filename YQ== x")
        ),
        ({"Upload-Length": "1"} | named("../x"), 422),
        ({"Upload-Length": "1"} | named(".hidden"), 422),
        ({"Upload-Length": "1", "Upload-Metadata": "filename //4="}, 422),
        ({"Upload-Length": "1", "Upload-Concat": "parts"}, 400),
        ({"Upload-Length": "1", "Upload-Concat": "final;"}, 400),
        ({"Upload-Length": "1", "Upload-Checksum": "crc7 YQ=="}, 400),
        ({"Upload-Length": "1", "Job-Id": "7"}, 400),
    ],
)
async def test_a_creation_that_is_not_right_is_refused_and_leaves_nothing(server, headers, status):
    answer = await call(server, "POST", "/tus/", headers)
    assert (answer.status, answer["Location"]) == (status, None)
    assert server.staged() == []
    assert server.jobs.live() == []


async def test_an_empty_upload_completes_at_once(server):
    url = await create(server, 0, headers=named("empty"))
    assert server.published() == {"empty": b""}
    assert await offset(server, url) == 0


@pytest.mark.parametrize("words", ["filename YQ==", "filename YQ==,empty,k ,is_confidential", "type dGV4dA=="])
async def test_metadata_is_given_back_as_it_came(server, words):
    """Keys without values, too. Without a filename the file has the upload's id for a name."""
    url = await create(server, 1, headers={"Upload-Metadata": words})
    assert (await call(server, "HEAD", url))["Upload-Metadata"] == words
    await patch(server, url, 0, b"x")
    assert (await call(server, "HEAD", url))["Upload-Metadata"] == words
    assert list(server.published()) == ["a" if "filename" in words else job_id(url)]


async def test_no_metadata_is_no_header(server):
    for headers in ({}, {"Upload-Metadata": ""}):
        url = await create(server, 1, headers=headers)
        assert "Upload-Metadata" not in (await call(server, "HEAD", url)).headers


@pytest.mark.parametrize("type_", [None, "application/octet-stream"])
async def test_a_creation_without_bytes_may_have_any_type(server, type_):
    """Also if it is sent in chunks of which there are none."""

    async def nothing():
        return
        yield

    for data in (None, nothing()):
        answer = await call(server, "POST", "/tus/", {"Upload-Length": "5", "Content-Type": type_}, data=data)
        assert answer.status == 201


async def test_a_taken_name_is_refused_at_once_and_again_at_the_end(server):
    """And as the query says, it is replaced, or the file is called otherwise."""
    (server.root / "a").write_bytes(b"old")
    assert (await call(server, "POST", "/tus/", {"Upload-Length": "1"} | named("a"))).status == 409
    url = await create(server, 1, headers=named("b"))
    (server.root / "b").write_bytes(b"old")
    assert (await patch(server, url, 0, b"x")).status == 410
    assert (await call(server, "HEAD", url)).status == 410
    for rule in ("replace", "rename"):
        answer = await call(server, "POST", f"/tus/?on_conflict={rule}", {"Upload-Length": "3"} | named("a"))
        assert (await patch(server, answer["Location"], 0, b"new")).status == 204
    assert server.published() == {"a": b"new", "b": b"old", "a (1)": b"new"}


# Creation with upload.


async def test_a_creation_may_bring_bytes(server):
    """All of them, or some; the answer tells how many were taken."""
    some = await call(server, "POST", "/tus/", BYTES | {"Upload-Length": "10"} | named("some"), data=b"12345")
    assert (some.status, some["Upload-Offset"]) == (201, "5")
    assert is_soon(some["Upload-Expires"])
    every = await call(server, "POST", "/tus/", BYTES | {"Upload-Length": "5"} | named("all"), data=b"12345")
    assert (every.status, every["Upload-Offset"], every["Upload-Expires"]) == (201, "5", None)
    assert server.published() == {"all": b"12345"}
    assert (await patch(server, some["Location"], 5, b"67890")).status == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (BYTES | {"Upload-Length": "3"}, 413),
        ({"Content-Type": "text/plain", "Upload-Length": "5"}, 415),
        (BYTES | {"Upload-Length": "5", "Upload-Checksum": checksum("sha1", b"other")}, 460),
    ],
)
async def test_a_creation_whose_bytes_are_not_right_leaves_nothing(server, headers, status):
    assert (await call(server, "POST", "/tus/", headers, data=b"12345")).status == status
    await eventually(lambda: not server.jobs.live())
    assert server.staged() == []


async def test_a_creation_that_breaks_leaves_nothing_unless_its_client_knows_where_it_is(server):
    """It cannot have been told the URL; but who named the job knows it, and goes on."""

    id_ = "9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11"
    for known in ({}, {"Job-Id": id_}):
        with held(b"12345") as body:
            running = asyncio.create_task(
                call(server, "POST", "/tus/", BYTES | {"Upload-Length": "10"} | known, data=body)
            )
            job = await server.one_live_job()
            await eventually(lambda job=job: job.bytes_done == 5)
            running.cancel()
        if known:
            await eventually(lambda job=job: job.state == "interrupted")
            assert await offset(server, f"/tus/{id_}") == 5
        else:
            await eventually(lambda: not server.staged() and not server.jobs.live())


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_bytes_that_are_not_wanted_are_not_asked_for(server, method):
    """Expect: 100-continue is answered when everything that the headers tell is right, and a refusal comes instead."""
    url = await create(server, 10)
    path = "/tus/" if method == "POST" else f"/tus/{job_id(url)}"
    for offset_, size, wanted in (("0", 5, True), ("0", 500, False), ("9", 1, False)):
        if method == "POST" and offset_ == "9":
            continue
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: h\r\nTus-Resumable: 1.0.0\r\n"
            f"Upload-Length: 10\r\nUpload-Offset: {offset_}\r\nContent-Type: {BYTES['Content-Type']}\r\n"
            f"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
        )
        writer.write(head.encode())
        got = await asyncio.wait_for(reader.readline(), 20)
        assert (b" 100 " in got) is wanted
        if wanted:
            writer.write(b"x" * size)
            assert b"Upload-Offset: 5" in await asyncio.wait_for(reader.readuntil(b"Upload-Offset: 5"), 20)
        writer.close()
        if method == "PATCH":
            await call(server, "DELETE", url)
            url = await create(server, 10)
            path = f"/tus/{job_id(url)}"


# Creation, deferred length.


async def test_a_length_may_come_later_but_only_once(server):
    """Until it comes, HEAD says so."""
    url = await create(server, headers={"Upload-Defer-Length": "1"} | named("a"))
    await patch(server, url, 0, b"123")
    head = await call(server, "HEAD", url)
    assert (head["Upload-Defer-Length"], head["Upload-Length"], head["Upload-Offset"]) == ("1", None, "3")
    assert (await patch(server, url, 3, b"", Upload_Length="2")).status == 400
    assert (await patch(server, url, 3, b"", Upload_Length="1000001")).status == 413
    assert (await patch(server, url, 3, b"45", Upload_Length="6")).status == 204
    head = await call(server, "HEAD", url)
    assert (head["Upload-Defer-Length"], head["Upload-Length"]) == (None, "6")
    assert (await patch(server, url, 5, b"", Upload_Length="7")).status == 400
    assert (await patch(server, url, 5, b"6", Upload_Length="6")).status == 204
    assert server.published() == {"a": b"123456"}


async def test_a_deferred_length_that_is_reached_completes(server):
    url = await create(server, headers={"Upload-Defer-Length": "1"} | named("a"))
    await patch(server, url, 0, b"123")
    assert (await patch(server, url, 3, b"", Upload_Length="3")).status == 204
    assert server.published() == {"a": b"123"}


# Checksum.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_chunk_has_its_checksum_or_is_dropped(server, algorithm):
    """460 with the offset as it was; the right one is taken."""
    url = await create(server, 6, headers=named("a"))
    assert (await patch(server, url, 0, b"123", Upload_Checksum=checksum(algorithm, b"123"))).status == 204
    wrong = await patch(server, url, 3, b"xyz", Upload_Checksum=checksum(algorithm, b"456"))
    assert (wrong.status, json.loads(wrong.body)["code"]) == (460, "checksum-mismatch")
    assert await offset(server, url) == 3
    assert (await patch(server, url, 3, b"456", Upload_Checksum=checksum(algorithm, b"456"))).status == 204
    assert server.published() == {"a": b"123456"}


async def test_what_cannot_be_held_against_its_checksum_is_not_kept(server):
    """A chunk that breaks off was never verified."""
    url = await create(server, 10)
    await patch(server, url, 0, b"123")
    job = await server.one_live_job()

    with held(b"45") as body:
        running = asyncio.create_task(patch(server, url, 3, body, Upload_Checksum=checksum("sha1", b"4567890")))
        await eventually(lambda: job.bytes_done == 5)
        running.cancel()
    await eventually(lambda: job.state == "interrupted")
    assert await offset(server, url) == 3
    assert (await patch(server, url, 3, b"4567890")).status == 204


# Expiration.


async def test_an_unfinished_upload_says_when_it_expires(server):
    """On its creation and on each PATCH: a day from when a byte last came."""
    answer = await call(server, "POST", "/tus/", {"Upload-Length": "10"})
    assert is_soon(answer["Upload-Expires"])
    assert is_soon((await patch(server, answer["Location"], 0, b"123"))["Upload-Expires"])
    assert is_soon((await call(server, "HEAD", answer["Location"]))["Upload-Expires"])


async def test_progress_renews_it_and_looking_does_not(server, root):
    url = await create(server, 10)
    past = time.time() - 3600
    os.utime(root / ".staging" / f"{job_id(url)}.kept", (past, past))
    before = parsedate_to_datetime((await call(server, "HEAD", url))["Upload-Expires"])
    assert timedelta(hours=22) < before - datetime.now(UTC) < timedelta(hours=23, minutes=30)
    assert parsedate_to_datetime((await call(server, "HEAD", url))["Upload-Expires"]) == before
    assert parsedate_to_datetime((await patch(server, url, 0, b"1"))["Upload-Expires"]) > before


# Termination.


async def test_a_terminated_upload_is_gone(server):
    """204, and then 410; its bytes, its record and its place are free."""
    url = await create(server, 10)
    await patch(server, url, 0, b"123")
    assert (await call(server, "DELETE", url)).status == 204
    assert server.staged() == []
    assert server.jobs.live() == []
    for method in ("HEAD", "PATCH", "DELETE"):
        assert (await call(server, method, url, BYTES | {"Upload-Offset": "3"})).status == 410


async def test_a_running_patch_is_ended_first(server):
    """Its client is told; then 204."""
    url = await create(server, 10)
    job = await server.one_live_job()
    with held(b"12345") as body:
        running = asyncio.create_task(patch(server, url, 0, body))
        await eventually(lambda: job.bytes_done == 5)
        assert (await call(server, "DELETE", url)).status == 204
        assert server.staged() == []
        refused = await running
    assert (refused.status, json.loads(refused.body)["code"]) == (410, "terminated")


async def test_a_complete_upload_is_taken_back_unless_somebody_replaced_its_file(server):
    for replaced in (False, True):
        url = await create(server, 3, headers=named("a"))
        await patch(server, url, 0, b"123")
        if replaced:
            (server.root / "a").write_bytes(b"another")
        assert (await call(server, "DELETE", url)).status == 204
        assert server.published() == ({"a": b"another"} if replaced else {})
        assert (await call(server, "HEAD", url)).status == 404
        assert server.staged() == []


# Who.


async def test_an_upload_is_its_owners_and_an_admins(root, regime):
    """Others get the 404 of one that never was (G6)."""
    async with serving(root, handler_cancellation=regime, authenticate=token_users) as server:
        url = await create(server, 10, headers=as_user("alice"))
        for method in ("HEAD", "PATCH", "DELETE"):
            headers = BYTES | {"Upload-Offset": "0"}
            assert (await call(server, method, url, headers | as_user("bob"))).status == 404
            assert (await call(server, method, url, headers)).status == 401
        assert (await call(server, "HEAD", url, as_user("root"))).status == 200
        assert (await patch(server, url, 0, b"1234567890", **as_user("alice"))).status == 204
        assert (await call(server, "HEAD", url, as_user("bob"))).status == 404
