"""Terminate, at every moment of a transfer, by users who may and users who may not.

In each test: when the call has answered 200 the job is over, nothing of it is staged or published, and its client is
told (G1, G2, G6).
"""

import asyncio
import contextlib
import gc
import threading
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from headgate.errors import NameTaken
from headgate.jobs import State
from headgate.storage.local import local_storage
from headgate.storage.local.incoming.stage import LargeStage
from headgate.storage.local.publishing.publication import Publication
from support import BOUNDARY, END, HeldUpload, as_user, eventually, form, part, serving, token_users

UPLOADING_404 = "You are not uploading anything currently."
EXPORTING_404 = "You are not exporting any file currently."


async def terminate(server, user="alice", *, kind="upload", job=None):
    method = "DELETE" if kind == "upload" else "POST"
    query = "" if job is None else f"?job={job}"
    async with server.client.request(
        method, f"{server.url}/{kind}/terminate{query}", headers=as_user(user)
    ) as response:
        return response.status, await response.json(content_type=None)


async def delete_job(server, user, job):
    async with server.client.delete(f"{server.url}/jobs/{job}", headers=as_user(user)) as response:
        return response.status, await response.json(content_type=None)


def nothing_is_left(server):
    return server.staged() == [] and server.published() == {} and server.jobs.live() == []


def endless_file(server, name="big"):
    """A sparse file that no test reads to its end."""
    with (server.root / name).open("wb") as file:
        file.truncate(2**33)
    return name


async def begin_export(server, user, name="big"):
    response = await server.client.post(server.url + "/export", json={"filename": name}, headers=as_user(user))
    await response.content.read(1000)
    return response


async def to_the_end(response):
    """Read the body and forget it."""
    while await response.content.readany():
        pass


async def raw_upload(server, user, sent=b""):
    """An upload whose headers arrived, and `sent` of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST {server.path}/upload HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\nContent-Length: 1000000\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    writer.write(head.encode() + sent)
    return reader, writer


@pytest.mark.parametrize(
    "sent",
    [b"", part("a", b"")[:20], part("a", b"x" * 9000)[:-2], part("a", b"x") + part("b", b"")[:30], part("a", b"x") * 1],
    ids=["before the first byte", "in the headers of a part", "in a file", "between parts", "at the end of a part"],
)
async def test_an_upload_can_be_terminated_at_any_moment(root, regime, sent):
    """200 with its id, and the uploader receives 409 `terminated`, by whom, on its own connection."""
    async with serving(root, authenticate=token_users, handler_cancellation=regime) as team:
        reader, writer = await raw_upload(team, "alice", sent)
        job = await team.one_live_job()
        await eventually(lambda: job.bytes_done > 8000 or len(sent) < 8000)
        assert await terminate(team) == (200, {"terminated": [str(job.id)]})
        assert nothing_is_left(team)
        assert (job.state, job.ended_by) == (State.TERMINATED, "alice")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 409 " in head
        assert f"Job-Id: {job.id}".encode() in head
        assert b'"code": "terminated"' in await reader.readuntil(b"}")
        assert (await terminate(team))[0] == 404
        writer.close()


async def test_an_upload_can_be_terminated_while_the_service_decides_on_it(root):
    """on_received is cancelled, so that its transaction rolls back."""
    deciding, rolled_back = asyncio.Event(), asyncio.Event()

    async def on_received(job, files):
        try:
            deciding.set()
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            rolled_back.set()
            raise

    async with serving(root, authenticate=token_users, on_received=on_received) as team:
        upload = HeldUpload(team, as_user("alice"))
        upload.send(form(part("a", b"x")))
        upload.end()
        await deciding.wait()
        assert (await terminate(team))[0] == 200
        assert rolled_back.is_set()
        assert nothing_is_left(team)
        assert (await upload.response)[0] == 409


async def test_during_publish_terminate_is_refused_and_the_upload_completes(team, monkeypatch):
    """Past the point of no return: 409 already-finished, and the file is there, whole (G2)."""
    publishing, may_go_on = threading.Event(), threading.Event()
    real = Publication.place_new

    def publish(self):
        publishing.set()
        may_go_on.wait()
        return real(self)

    monkeypatch.setattr(Publication, "place_new", publish)
    upload = HeldUpload(team, as_user("alice"))
    upload.send(form(part("a", b"x" * 1000)))
    upload.end()
    try:
        await asyncio.to_thread(publishing.wait)
        job = await team.one_live_job()
        assert job.state is State.FINISHING
        for status, body in (
            await terminate(team),
            await terminate(team, job=job.id),
            await delete_job(team, "alice", job.id),
        ):
            assert (status, body["code"]) == (409, "already-finished")
    finally:
        may_go_on.set()
    assert (await upload.response)[0] == 201
    assert team.published() == {"a": b"x" * 1000}
    assert (await delete_job(team, "alice", job.id))[0] == 409
    assert await terminate(team, job=job.id) == await terminate(team)
    assert (await terminate(team))[1]["title"] == UPLOADING_404


async def test_terminated_by_two_at_once_it_ends_once(team):
    """Both are answered when it has ended; the first is who did it."""
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(900)
    answers = await asyncio.gather(*(terminate(team) for _ in range(5)), delete_job(team, "root", job.id))
    assert {status for status, _ in answers} <= {200, 404, 409}
    assert [status for status, _ in answers].count(200) >= 1
    assert job.state is State.TERMINATED
    assert nothing_is_left(team)
    assert (await upload.response)[0] == 409


async def test_a_stored_export_is_truncated_by_terminate(root, regime):
    """The client sees a body that is too short; the job says by whom."""
    async with serving(root, authenticate=token_users, handler_cancellation=regime) as team:
        response = await begin_export(team, "alice", endless_file(team))
        job = await team.one_live_job()
        assert await terminate(team, kind="export") == (200, {"terminated": [str(job.id)]})
        assert team.jobs.live() == []
        with pytest.raises(aiohttp.ClientPayloadError):
            await to_the_end(response)
        response.close()
        async with team.client.get(f"{team.url}/jobs/{job.id}", headers=as_user("alice")) as answer:
            body = await answer.json()
        assert (body["state"], body["ended_by"], body["reason"]) == ("terminated", "alice", "terminated")
        assert body["ended_at"] is not None
        assert await terminate(team, kind="export") == await terminate(team, "bob", kind="export")
        assert (await terminate(team, kind="export"))[1]["title"] == EXPORTING_404


async def test_an_export_to_a_client_that_does_not_read_can_be_terminated(root, regime):
    """Stuck in a full socket it ends as fast as any."""
    async with serving(root, authenticate=token_users, handler_cancellation=regime) as team:
        endless_file(team)
        _, writer = await asyncio.open_connection("127.0.0.1", team.port, limit=1000)
        body = b'{"filename": "big"}'
        head = f"POST /export HTTP/1.1\r\nHost: x\r\nX-User: alice\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        job = await team.one_live_job()
        moved = -1
        while moved != job.bytes_done:  # until the socket is full
            moved = job.bytes_done
            await asyncio.wait([asyncio.create_task(job.wait_ended())], timeout=0.2)
        assert (await terminate(team, kind="export"))[0] == 200
        assert job.state is State.TERMINATED
        writer.transport.abort()


@pytest.mark.parametrize("when", ["before its first chunk", "between chunks"])
async def test_a_generated_export_is_ended_by_terminate(root, regime, when):
    """Its finally has run when terminate answers. Its client is told why, or after the first chunk sees a cut."""
    rolled_back = []

    async def rows():
        try:
            if when == "between chunks":
                yield b"first"
            await asyncio.sleep(3600)
            yield b"never"
        finally:
            await asyncio.sleep(0)
            rolled_back.append(True)

    async with serving(root, authenticate=token_users, handler_cancellation=regime, exports={"rows": rows}) as team:
        post = asyncio.create_task(
            team.client.post(team.url + "/export", json={"filename": "rows"}, headers=as_user("alice"))
        )
        job = await team.one_live_job()
        await eventually(lambda: job.bytes_done or when == "before its first chunk")
        assert await terminate(team, kind="export") == (200, {"terminated": [str(job.id)]})
        assert rolled_back == [True]
        response = await post
        if when == "before its first chunk":
            assert (response.status, (await response.json(content_type=None))["code"]) == (409, "terminated")
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
            response.close()
        assert job.state is State.TERMINATED


async def test_a_generator_that_swallows_its_cancellation_before_its_first_chunk_sends_none(root):
    """Its client is told that the export was terminated."""

    async def stubborn():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        yield b"row"

    async with serving(root, authenticate=token_users, exports={"rows": stubborn}) as team:
        post = asyncio.create_task(
            team.client.post(team.url + "/export", json={"filename": "rows"}, headers=as_user("alice"))
        )
        await team.one_live_job()
        assert (await terminate(team, kind="export"))[0] == 200
        response = await post
        assert (response.status, (await response.json(content_type=None))["code"]) == (409, "terminated")


async def test_a_generator_that_swallows_its_cancellation_is_ended_all_the_same(root):
    """At its next chunk; its client sees a cut, not the rest (G1)."""

    async def stubborn():
        for _ in range(1000):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600 if _ == 3 else 0)
            yield b"row"

    async with serving(root, authenticate=token_users, exports={"rows": stubborn}) as team:
        response = await begin_export(team, "alice", "rows")
        job = await team.one_live_job()
        await eventually(lambda: job.bytes_done == 9)
        assert (await terminate(team, kind="export"))[0] == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await to_the_end(response)
        response.close()
        assert job.bytes_done <= 12


@pytest.mark.parametrize("taken", [False, True])
async def test_an_uploader_is_told_although_its_file_was_just_being_begun(root, monkeypatch, taken):
    """Terminated while a thread opens the staged file, whatever comes of that: 409, also through a host's middleware
    that awaits something after the handler."""
    opening, may_open = threading.Event(), threading.Event()
    real = LargeStage._create_labelled

    def create(self, label, name, on_conflict):
        opening.set()
        may_open.wait()
        if taken:
            raise NameTaken
        return real(self, label, name, on_conflict)

    @web.middleware
    async def host(request, handler):
        response = await handler(request)
        await asyncio.sleep(0)
        return response

    monkeypatch.setattr(local_storage, "SMALL_FILE_BYTES", 0)
    monkeypatch.setattr(LargeStage, "_create_labelled", create)
    async with serving(root, authenticate=token_users, host_middleware=host) as team:
        # The part ends early, so that reading it raises without waiting for anything.
        reader, writer = await raw_upload(
            team, "alice", part("a", b"x")[:-2] + b"\r\n--" + BOUNDARY.encode() + b"nonsense\r\n"
        )
        await asyncio.to_thread(opening.wait)
        job = await team.one_live_job()
        call = asyncio.create_task(terminate(team))
        await eventually(lambda: job.cause is not None)
        may_open.set()
        assert (await call)[0] == 200
        assert b" 409 " in await reader.readline()
        assert b"terminated" in await reader.readuntil(b"}")
        assert team.staged() == []
        writer.close()


async def test_a_terminated_job_holds_on_to_nothing(root):
    """It is remembered, its request and buffers are not (G8)."""
    async with serving(root, authenticate=token_users, lingering_time=0.01) as team:
        for _ in range(5):
            upload = HeldUpload(team, as_user("forgotten"))
            upload.send(part("a", b"x" * 1000)[:-2])
            await upload.began(900)
            assert (await terminate(team, "forgotten"))[0] == 200
            assert (await upload.response)[0] == 409
        await team.client.close()

        def requests():
            gc.collect()
            every = [thing for thing in gc.get_objects() if isinstance(thing, web.Request)]
            return [request for request in every if request.headers.get("X-User") == "forgotten"]

        await eventually(lambda: not requests(), "the end of the last request")
        assert len(team.infos()) == 5


async def test_a_user_without_jobs_gets_the_original_texts(team):
    status, body = await terminate(team)
    assert (status, body["title"], body["code"]) == (404, UPLOADING_404, "not-uploading")
    status, body = await terminate(team, kind="export")
    assert (status, body["title"], body["code"]) == (404, EXPORTING_404, "not-exporting")


async def test_terminate_without_an_id_ends_all_of_ones_own_and_nothing_else(team):
    """Not the other kind, not another's; an admin's included."""
    endless_file(team)
    mine = [HeldUpload(team, as_user("alice")) for _ in range(3)]
    others = [HeldUpload(team, as_user(name)) for name in ("bob", "root")]
    for number, upload in enumerate((*mine, *others)):
        upload.send(part(f"f{number}", b"x" * 1000)[:-2])
    export = await begin_export(team, "alice")
    await eventually(lambda: len(team.jobs.live()) == 6)
    status, body = await terminate(team)
    assert (status, len(body["terminated"])) == (200, 3)
    assert sorted(job.owner for job in team.jobs.live()) == ["alice", "bob", "root"]
    assert (await terminate(team, "root"))[0] == 200
    assert sorted(job.owner for job in team.jobs.live()) == ["alice", "bob"]
    assert (await terminate(team, kind="export"))[0] == 200
    others[0].send(b"\r\n" + END)
    others[0].end()
    assert (await others[0].response)[0] == 201
    assert {path.name for path in team.root.iterdir()} == {".staging", "big", "f3"}
    for upload in (*mine, others[1]):
        assert (await upload.response)[0] == 409
    export.close()


async def test_terminate_with_an_id_ends_that_one(team):
    uploads = [HeldUpload(team, as_user("alice") | {"Job-Id": str(uuid4())}) for _ in range(2)]
    for number, upload in enumerate(uploads):
        upload.send(part(f"f{number}", b"x" * 1000)[:-2])
    await eventually(lambda: len(team.jobs.live()) == 2)
    id_ = uploads[0].headers["Job-Id"]
    assert await terminate(team, job=id_) == (200, {"terminated": [id_]})
    assert [str(job.id) for job in team.jobs.live()] == [uploads[1].headers["Job-Id"]]
    assert (await uploads[0].response)[0] == 409


async def test_an_admin_ends_anybodys(team):
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(900)
    assert (await terminate(team, "root", job=job.id))[0] == 200
    assert job.ended_by == "root"
    status, body, _ = await upload.response
    assert (status, "root" in body["detail"]) == (409, True)


async def test_a_stranger_is_answered_as_for_an_id_that_never_was(team):
    """Byte for byte, on every route; and nothing happens to the job (G6)."""
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(900)
    never = uuid4()

    async def ask(method, path):
        async with team.client.request(method, team.url + path, headers=as_user("bob")) as response:
            headers = {name: value for name, value in response.headers.items() if name != "Date"}
            return response.status, headers, await response.read()

    for method, path in [
        ("GET", "/jobs/{}"),
        ("DELETE", "/jobs/{}"),
        ("DELETE", "/upload/terminate?job={}"),
        ("POST", "/export/terminate?job={}"),
    ]:
        answer = await ask(method, path.format(job.id))
        assert answer[0] == 404
        assert answer == await ask(method, path.format(never))
        assert answer == await ask(method, path.format("no-id-at-all"))
    async with team.client.get(team.url + "/jobs", headers=as_user("bob")) as response:
        assert await response.json() == {"jobs": []}
    assert job.state is State.RUNNING
    await terminate(team)
    await upload.response


async def test_the_wrong_kind_of_terminate_does_not_find_the_job(team):
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    job = await upload.began(900)
    assert (await terminate(team, kind="export", job=job.id))[0] == 404
    assert job.state is State.RUNNING
    assert (await delete_job(team, "alice", job.id))[1]["state"] == "terminated"
    await upload.response


async def test_a_name_is_free_again_after_terminate(team):
    """The next upload of that name is published at once."""
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    await upload.began(900)
    await terminate(team)
    assert (await team.upload("a", b"second", headers=as_user("alice"))).status == 201
    assert team.published() == {"a": b"second"}
    await upload.response


async def test_the_connection_of_whoever_terminates_stays_usable(team):
    """The terminating request is not the one that is cancelled."""
    upload = HeldUpload(team, as_user("alice"))
    upload.send(part("a", b"x" * 1000)[:-2])
    await upload.began(900)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), headers=as_user("alice")) as client:
        for status in (200, 404, 404):
            async with client.delete(team.url + "/upload/terminate") as response:
                assert response.status == status
    await upload.response


async def test_code_that_holds_up_the_end_is_said_to_do_so(root):
    """503 still-ending after the timeout; the job ends as terminated all the same, and nothing is published."""
    deciding, may_end = asyncio.Event(), asyncio.Event()

    async def on_received(job, files):
        deciding.set()
        try:
            await asyncio.sleep(3600)
        finally:
            await may_end.wait()

    config = {"terminate_timeout": 0.02}
    async with serving(root, authenticate=token_users, config=config, on_received=on_received) as team:
        upload = HeldUpload(team, as_user("alice"))
        upload.send(form(part("a", b"x")))
        upload.end()
        await deciding.wait()
        status, body = await terminate(team)
        assert (status, body["code"]) == (503, "still-ending")
        may_end.set()
        assert (await upload.response)[0] == 409
        assert nothing_is_left(team)
