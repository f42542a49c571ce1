"""POST /upload on a real socket."""

import asyncio
import errno
import json
import os
from dataclasses import replace
from uuid import uuid4

import aiohttp
import pytest

from headgate.app import local_storage
from headgate.config import Config
from headgate.jobs import State
from headgate.storage.local.incoming.stage import LocalStage
from support import BOUNDARY, END, FORM, HeldUpload, as_user, eventually, form, part, serving, token_users


async def problem(response):
    assert response.content_type == "application/problem+json"
    body = await response.json(content_type=None)
    assert body["status"] == response.status
    assert body["type"] == f"urn:headgate:problem:{body['code']}"
    return response.status, body["code"]


async def test_a_file_is_published_and_answered_with_its_job(server):
    """201, the job as it reads everywhere, its files, and links to it."""
    data = os.urandom(300_000)
    response = await server.upload("a.bin", data)
    body = await response.json()
    assert response.status == 201
    assert body["files"] == [{"name": "a.bin", "size": len(data)}]
    assert (body["kind"], body["state"], body["names"]) == ("upload", "completed", ["a.bin"])
    assert body["bytes_done"] == body["bytes_total"] == len(data)
    assert response.headers["Job-Id"] == body["id"]
    assert response.headers["Location"] == f"/jobs/{body['id']}"
    assert response.headers["Link"] == f'</jobs/{body["id"]}>; rel="status"'
    assert server.published() == {"a.bin": data}
    assert server.staged() == []


async def test_several_files_are_one_job_published_together(server):
    body = form(part("a", b"1"), part(None, b"ignored", name="comment"), part("b", b"22"), part("c", b""))
    async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
        assert response.status == 201
        answer = await response.json()
    assert answer["files"] == [{"name": "a", "size": 1}, {"name": "b", "size": 2}, {"name": "c", "size": 0}]
    assert server.published() == {"a": b"1", "b": b"22", "c": b""}
    assert len(server.infos()) == 1


async def test_several_files_are_not_published_if_one_cannot_be(server):
    """The second name is taken: the first is not there either, and nothing is staged."""
    await server.upload("b", b"first")
    body = form(part("a", b"1"), part("b", b"2"))
    async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
        assert await problem(response) == (409, "name-taken")
    assert server.published() == {"b": b"first"}
    assert server.staged() == []


async def test_aiohttps_own_client_uploads(server):
    data = aiohttp.FormData(quote_fields=False)
    data.add_field("on_conflict", "rename")
    data.add_field("file", b"hello", filename="日本 report.txt", content_type="text/plain")
    async with server.client.post(server.url + "/upload", data=data) as response:
        assert response.status == 201
    assert server.published() == {"日本 report.txt": b"hello"}


BAD_REQUESTS = {
    "no form": (b"hello", {"Content-Type": "text/plain"}, 415, "unsupported-media"),
    "no type": (b"hello", {"Content-Type": "application/octet-stream"}, 415, "unsupported-media"),
    "no boundary": (b"hello", {"Content-Type": "multipart/form-data"}, 400, "malformed-body"),
    "no parts": (b"hello", FORM, 400, "malformed-body"),
    "cut short": (form(part("a", b"hello"))[:-10], FORM, 400, "malformed-body"),
    "no files": (form(part(None, b"x")), FORM, 400, "no-files"),
    "only fields": (END, FORM, 400, "no-files"),
    "bad name": (form(part("../a", b"x")), FORM, 422, "invalid-name"),
    "absolute name": (form(part("/etc/passwd", b"x")), FORM, 422, "invalid-name"),
    "hidden name": (form(part(".staging", b"x")), FORM, 422, "invalid-name"),
    "nul in the name": (
        form(part("a*", b"x")).replace(b'filename="a*"', b"filename*=utf-8''a%00b"),
        FORM,
        422,
        "invalid-name",
    ),
    "name that is not utf-8": (form(part("a*", b"x")).replace(b"a*", b"a\xff"), FORM, 422, "invalid-name"),
    "long name": (form(part("x" * 256, b"x")), FORM, 422, "invalid-name"),
    "two of a name": (form(part("a", b"1"), part("a", b"2")), FORM, 409, "name-taken"),
    "bad option": (form(part(None, b"maybe", name="on_conflict"), part("a", b"x")), FORM, 422, "invalid-option"),
    "encoded part": (
        form(part("a", b"x", headers="Content-Transfer-Encoding: base64\r\n")),
        FORM,
        415,
        "unsupported-media",
    ),
    "encoded body": (form(part("a", b"x")), FORM | {"Content-Encoding": "gzip"}, 415, "unsupported-media"),
    "id that is none": (form(part("a", b"x")), FORM | {"Job-Id": "42"}, 400, "malformed-request"),
    "id in braces": (form(part("a", b"x")), FORM | {"Job-Id": f"{{{uuid4()}}}"}, 400, "malformed-request"),
    "other expectation": (form(part("a", b"x")), FORM | {"Expect": "miracles"}, 417, "expectation-failed"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_a_bad_request_gets_a_clear_answer_and_leaves_nothing(server, caplog, name):
    """The right status, a stable code, no traceback, nothing published, nothing staged."""
    data, headers, status, code = BAD_REQUESTS[name]
    async with server.client.post(server.url + "/upload", data=data, headers=headers) as response:
        assert await problem(response) == (status, code)
        assert str(server.root) not in await response.text()
    assert server.published() == {}
    assert server.staged() == []
    assert "Traceback" not in caplog.text


async def test_every_answer_of_a_job_names_it(server):
    """A refused upload can be looked up by the id in its refusal."""
    async with server.client.post(server.url + "/upload", data=form(part("..", b"x")), headers=FORM) as response:
        body = await response.json(content_type=None)
        assert response.headers["Job-Id"] == body["job"]
        link = response.headers["Link"].split(">")[0][1:]
    async with server.client.get(server.url + link) as response:
        job = await response.json()
        assert (job["state"], job["reason"]) == ("failed", "invalid-name")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("sizes", "status"), [((1000,), 201), ((1001,), 413), ((500, 500), 201), ((500, 501), 413)])
async def test_no_more_is_taken_than_allowed(root, chunked, sizes, status):
    """To the byte, for one file and for all of a request, with and without a Content-Length."""
    body = form(*(part(f"f{n}", b"x" * size) for n, size in enumerate(sizes)))
    async with serving(root, config={"max_file_size": 1000}) as server:
        data = _chunks(body) if chunked else body
        async with server.client.post(server.url + "/upload", data=data, headers=FORM) as response:
            assert response.status == status
        assert len(server.published()) == (len(sizes) if status == 201 else 0)
        assert server.staged() == []


async def _chunks(body):
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def test_a_name_that_is_taken_is_refused_as_soon_as_it_is_known(server):
    """With a gigabyte still to come, the answer is there."""
    await server.upload("a", b"first")
    upload = HeldUpload(server)
    upload.send(part("a", b"second")[:-2])
    status, body, _ = await upload.response
    assert (status, body["code"]) == (409, "name-taken")
    assert server.published() == {"a": b"first"}


async def test_two_users_uploads_of_one_name_have_one_winner(team):
    """The first to end is published, the other refused, and nothing mixes."""
    uploads = [HeldUpload(team, as_user(name)) for name in ("alice", "bob")]
    for number, upload in enumerate(uploads):
        upload.send(part("a", b"%d" % number * 1000)[:-2])
    await eventually(lambda: sum(job.bytes_done >= 900 for job in team.jobs.live()) == 2)
    answers = []
    for upload in uploads:
        upload.send(b"\r\n" + END)
        upload.end()
        answers.append(await upload.response)
    assert [status for status, *_ in answers] == [201, 409]
    assert team.published() == {"a": b"0" * 1000}
    assert team.staged() == []


@pytest.mark.parametrize("where", ["query", "field", "config"])
@pytest.mark.parametrize(
    ("on_conflict", "status", "published"),
    [
        ("reject", 409, {"a.txt": b"first"}),
        ("rename", 201, {"a.txt": b"first", "a (1).txt": b"second"}),
        ("replace", 201, {"a.txt": b"second"}),
    ],
)
async def test_a_conflict_is_settled_as_asked(root, where, on_conflict, status, published):
    config = {"on_conflict": on_conflict} if where == "config" else {}
    async with serving(root, config=config) as server:
        await server.upload("a.txt", b"first")
        query = f"?on_conflict={on_conflict}" if where == "query" else ""
        fields = [part(None, on_conflict.encode(), name="on_conflict")] if where == "field" else []
        body = form(*fields, part("a.txt", b"second"))
        async with server.client.post(server.url + "/upload" + query, data=body, headers=FORM) as response:
            assert response.status == status
            if status == 201:
                assert [file["name"] for file in (await response.json())["files"]] == [
                    name for name, data in published.items() if data == b"second"
                ]
        assert server.published() == published


@pytest.mark.parametrize("late", [b"replace", b"reject"])
async def test_what_may_be_replaced_is_not_decided_after_the_files(server, late):
    """A late option is refused, not half obeyed."""
    body = form(
        part(None, b"rename", name="on_conflict"),
        part("a", b"1"),
        part("a", b"2"),
        part(None, late, name="on_conflict"),
    )
    async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
        assert await problem(response) == (422, "invalid-option")
    assert server.published() == {}


async def test_the_client_may_name_its_job(server):
    """The id is known before the first byte, and can be used but once."""
    id_ = str(uuid4())
    upload = HeldUpload(server, {"Job-Id": id_.upper()})
    upload.send(b"a preamble\r\n")
    job = await server.one_live_job()
    assert str(job.id) == id_
    async with server.client.post(
        server.url + "/upload", data=form(part("b", b"x")), headers=FORM | {"Job-Id": id_}
    ) as response:
        assert await problem(response) == (409, "job-id-taken")
    upload.send(form(part("a", b"x")))
    upload.end()
    status, body, headers = await upload.response
    assert (status, body["id"], headers["Job-Id"]) == (201, id_, id_)
    again = await server.upload("c", b"x", headers={"Job-Id": id_})
    assert await problem(again) == (409, "job-id-taken")


async def test_progress_is_visible_while_bytes_come(server):
    """Bytes done are bytes of the file; the total is known from Content-Length."""
    body = form(part("a", b"x" * 50_000))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    writer.write(head.encode() + body[:30_000])
    job = await server.one_live_job()
    await eventually(lambda: job.bytes_done > 29_000)
    async with server.client.get(f"{server.url}/jobs/{job.id}") as response:
        seen = await response.json()
    assert (seen["state"], seen["names"], seen["bytes_total"]) == ("running", ["a"], 50_000)
    assert 29_000 < seen["bytes_done"] < 30_000
    writer.write(body[30_000:])
    assert b" 201 " in await reader.readline()
    writer.close()


async def test_a_client_that_sends_nothing_is_told_and_leaves_nothing(root):
    """408 after the idle timeout; the staged bytes are gone."""
    async with serving(root, config={"idle_timeout": 0.05, "watch_interval": 0.01}) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 1000)[:-2])
        status, body, _ = await upload.response
        assert (status, body["code"]) == (408, "idle-timeout")
        assert server.staged() == []
        (job,) = server.infos()
        assert (job.state, job.reason) == (State.FAILED, "idle-timeout")


async def test_a_client_that_waits_for_us_is_not_idle(root):
    """However long the embedding service takes to decide."""
    decided = asyncio.Event()

    async def on_received(job, files):
        await decided.wait()

    config = {"idle_timeout": 0.02, "watch_interval": 0.005}
    async with serving(root, config=config, on_received=on_received) as server:
        upload = asyncio.create_task(server.upload("a", b"x"))
        await server.one_live_job()
        asyncio.get_running_loop().call_later(0.2, decided.set)
        assert (await upload).status == 201


@pytest.mark.parametrize("when", ["before the first byte", "in a file", "between parts", "before the last byte"])
async def test_a_disconnect_leaves_nothing_and_is_one_line_in_the_log(root, regime, caplog, when):
    """In both regimes of aiohttp: failed because disconnected, nothing published, nothing staged, no traceback."""
    caplog.set_level("INFO")
    body = form(part("a", b"x" * 5000))
    sent = {
        "before the first byte": b"",
        "in a file": body[:3000],
        "between parts": part("a", b"x" * 5000) + part("b", b"")[:20],
        "before the last byte": body[:-1],
    }[when]
    async with serving(root, handler_cancellation=regime) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {10**6}\r\n"
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        writer.write(head.encode() + sent)
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done >= (2000 if b"xxx" in sent else 0))
        writer.transport.abort()
        await eventually(lambda: job.state.ended)
        assert (job.state, job.reason) == (State.FAILED, "disconnected")
        assert server.published() == {}
        assert server.staged() == []
    lines = [record for record in caplog.records if record.name.startswith(("headgate", "aiohttp", "asyncio"))]
    assert [record.levelname for record in lines] == ["INFO"]
    assert "disconnected" in lines[0].getMessage()


async def test_garbage_in_the_transfer_encoding_is_a_bad_request(root):
    """Chunked garbage: 400 at the next look, nothing left."""
    async with serving(root, config={"watch_interval": 0.01}) as server:
        await _send_chunked_garbage(server)


async def _send_chunked_garbage(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
    first = part("a", b"x" * 100)[:-2]
    writer.write(head.encode() + b"%x\r\n%b\r\n" % (len(first), first))
    job = await server.one_live_job()
    await eventually(lambda: job.bytes_done)
    writer.write(b"zz\r\n")
    assert b" 400 " in await reader.readline()
    answer = await reader.read(10_000)
    assert b"malformed-transfer" in answer
    assert server.staged() == []
    writer.close()


async def test_users_do_not_get_in_without_a_name(team):
    response = await team.upload("a", b"x")
    assert await problem(response) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert team.infos() == []
    assert (await team.upload("a", b"x", headers=as_user("alice"))).status == 201


async def test_a_full_disk_is_the_uploaders_answer_and_nobody_elses(team, monkeypatch):
    """507 for the one whose write failed, nothing of it left; the other upload goes on and is whole."""
    other = HeldUpload(team, as_user("bob"))
    other.send(part("b", b"y" * 1000)[:-2])
    await other.began(900)
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, data: _full() if b"xxx" in bytes(data[0]) else real(fd, data))
    response = await team.upload("a", b"x" * 1000, headers=as_user("alice"))
    assert await problem(response) == (507, "storage-full")
    other.send(b"\r\n" + END)
    other.end()
    assert (await other.response)[0] == 201
    assert team.published() == {"b": b"y" * 1000}
    assert team.staged() == []


def _full():
    raise OSError(errno.ENOSPC, "no space left on device")


async def test_an_error_of_ours_is_a_500_that_shows_nothing(server, monkeypatch, caplog):
    """The traceback is in the log, once, and not in the answer."""

    async def broken(self, name, on_conflict):
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(LocalStage, "create", broken)
    response = await server.upload("a", b"x")
    assert await problem(response) == (500, "internal-error")
    assert "secret" not in json.dumps(await response.json(content_type=None))
    assert caplog.text.count("Traceback") == 1


async def test_expect_is_answered_only_when_the_headers_are_in_order(root):
    """100 Continue comes for what will be read; 401, 409, 413, 415, 417 and 422 come instead of it, before any body."""
    async with serving(root, authenticate=token_users, config={"max_file_size": 1000}) as server:
        taken = str(uuid4())
        await server.upload("x", b"", headers=as_user("alice") | {"Job-Id": taken})
        good = FORM | as_user("alice") | {"Content-Length": "500", "Expect": "100-continue"}
        cases = [
            (good, "/upload", 100),
            ({key: value for key, value in good.items() if key != "X-User"}, "/upload", 401),
            (good | {"Job-Id": taken}, "/upload", 409),
            (good | {"Content-Length": str(10**9)}, "/upload", 413),
            (good | {"Content-Type": "text/plain"}, "/upload", 415),
            (good | {"Expect": "miracles"}, "/upload", 417),
            (good, "/upload?on_conflict=merge", 422),
        ]
        for headers, path, status in cases:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
            assert (await reader.readline()).split()[1] == b"%d" % status, (headers, path)
            if status == 100:
                assert await reader.readline() == b"\r\n"
                body = form(part("a", b""))
                writer.write(body + b"x" * (500 - len(body)))
                assert (await reader.readline()).split()[1] == b"201"
            else:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert b"connection: close" in head
            writer.close()


async def test_a_renamed_files_job_knows_its_new_name(root):
    async with serving(root, config={"on_conflict": "rename"}) as server:
        for name in ("a.txt", "a (1).txt"):
            assert (await (await server.upload("a.txt", b"x")).json())["names"] == [name]


async def test_nobody_is_watched_after_the_end(server, monkeypatch):
    """The check that was still to come is cancelled."""
    loop, checks = asyncio.get_running_loop(), []
    real = loop.call_later

    def call_later(delay, callback, *args, **kwargs):
        handle = real(delay, callback, *args, **kwargs)
        if getattr(callback, "__name__", "") == "_check":
            checks.append(handle)
        return handle

    monkeypatch.setattr(loop, "call_later", call_later)
    await server.upload("a", b"x")
    assert [handle.cancelled() for handle in checks] == [True]


class OneAtATime:
    """The storage `of`, which publishes one file of a stage, and not several together."""

    def __init__(self, of):
        self._of = of
        self.capabilities = replace(of.capabilities, max_files_per_stage=1)

    def __getattr__(self, name):
        return getattr(self._of, name)


async def test_no_more_files_are_taken_than_the_storage_publishes_together(root):
    """A form with one more is refused with 413, and no file of it is published or left staged."""
    storage = OneAtATime(local_storage(Config(root=root)))
    async with serving(root, storage=storage) as server:
        for files, status in (("a",), 201), (("b", "c"), 413):
            body = form(*(part(name, b"x" * 1000) for name in files))
            async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
                assert response.status == status, await response.text()
        assert list(server.published()) == ["a"]
        assert server.staged() == []
