"""create_app() in another service: prefixes, several at once, their users, exports and checks."""

import asyncio
import contextlib
import os

import aiohttp
import pytest
from aiohttp import web

import headgate
from headgate import Config, ConfigError, Refused, StorageUnusable, User, create_app
from headgate.errors import InvalidName
from headgate.jobs import Actor, State
from headgate.storage import LocalStorage
from support import FORM, HeldUpload, as_user, eventually, form, part, serving, token_users


async def rows():
    yield b"1\n"


@pytest.mark.parametrize("prefix", ["/transfers", "/a/b"])
async def test_under_a_prefix_every_call_and_every_link_works(root, regime, prefix):
    """Links are followed, not guessed."""
    async with serving(root, prefix=prefix, handler_cancellation=regime, exports={"rows": rows}) as server:
        host = server.url.removesuffix(prefix)
        response = await server.upload("a", b"hello")
        assert response.headers["Location"].startswith(prefix + "/jobs/")
        async with server.client.get(host + response.headers["Location"]) as job:
            assert (await job.json())["state"] == "completed"
        for name, data in (("a", b"hello"), ("rows", b"1\n")):
            async with server.client.post(server.url + "/export", json={"filename": name}) as export:
                assert await export.read() == data
                assert export.headers["Link"].startswith(f"<{prefix}/jobs/")
        async with server.client.get(server.url + "/nothing") as missing:
            assert missing.content_type == "application/problem+json"
        upload = HeldUpload(server)
        upload.send(part("b", b"x" * 100)[:-2])
        await upload.began(90)
        async with server.client.delete(server.url + "/upload/terminate") as terminated:
            assert terminated.status == 200
        assert (await upload.response)[0] == 409


async def test_two_applications_in_one_process_share_nothing(tmp_path):
    """Roots, jobs and limits are each one's own, nested under one host."""
    host = web.Application()
    apps = [create_app(Config(root=tmp_path / name)) for name in ("one", "two")]
    for app, prefix in zip(apps, ("/one", "/two"), strict=True):
        host.add_subapp(prefix, app)
    runner = web.AppRunner(host)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as client:
        for prefix in ("/one", "/two"):
            url = f"http://127.0.0.1:{site.port}{prefix}"
            data = form(part("a", prefix.encode()))
            async with client.post(url + "/upload", data=data, headers=FORM) as response:
                assert response.status == 201
    await runner.cleanup()
    assert (tmp_path / "one" / "a").read_bytes() == b"/one"
    assert (tmp_path / "two" / "a").read_bytes() == b"/two"
    assert [len([job async for job in app[headgate.JOBS].list()]) for app in apps] == [1, 1]


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_services_own_users_are_headgates(root, is_async):
    async def later(request):
        return token_users(request)

    async with serving(root, authenticate=later if is_async else token_users) as server:
        assert (await server.upload("a", b"x")).status == 401
        assert (await server.upload("a", b"x", headers=as_user("alice"))).status == 201
        assert server.infos()[0].owner == "alice"


async def test_on_received_sees_everything_before_anything_is_published(root):
    """After the last byte: the job, still running, and its files with their sizes; nothing is visible yet."""
    seen = []

    async def on_received(job, files):
        seen.append(
            (job.state, job.owner, [(file.name, file.size) for file in files], sorted(p.name for p in root.iterdir()))
        )

    async with serving(root, on_received=on_received) as server:
        body = form(part("a", b"1"), part("b", b"22"))
        async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
            assert response.status == 201
    assert seen == [(State.RUNNING, "anonymous", [("a", 1), ("b", 2)], [".staging"])]


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (ValueError("no csv, no fun"), 422, "refused", "no csv, no fun"),
        (Refused("we have that"), 422, "refused", "we have that"),
        (KeyError(), 422, "refused", None),
        (headgate.errors.StorageFull("no room for you"), 507, "storage-full", "no room for you"),
    ],
)
async def test_on_received_refuses_by_raising(root, error, status, code, detail):
    """422 with its message, or its own status if it is one of our errors; nothing is published or left."""

    async def on_received(job, files):
        raise error

    async with serving(root, on_received=on_received) as server:
        response = await server.upload("a", b"x")
        body = await response.json(content_type=None)
        assert (response.status, body["code"], body.get("detail")) == (status, code, detail)
        assert server.published() == {}
        assert server.staged() == []
        assert server.infos()[0].reason == code


async def test_a_generated_name_cannot_be_taken_by_an_upload(root):
    """It would be hidden behind the export."""
    async with serving(root, exports={"rows.csv": rows}) as server:
        for query in ("", "?on_conflict=rename", "?on_conflict=replace"):
            async with server.client.post(
                server.url + "/upload" + query, data=form(part("rows.csv", b"x")), headers=FORM
            ) as response:
                assert (response.status, (await response.json(content_type=None))["code"]) == (409, "name-taken")


async def test_the_service_can_end_jobs_itself(root):
    """Through app[JOBS], as the handlers do."""
    async with serving(root) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 100)[:-2])
        job = await upload.began(90)
        directory: headgate.JobDirectory = server.app[headgate.JOBS]
        ended = await directory.command(job.id, headgate.Terminate(), owner=job.owner, by=Actor("the service"))
        assert ended.state is State.TERMINATED
        status, body, _ = await upload.response
        assert (status, body["code"]) == (409, "terminated")
        assert job.ended_by == "the service"


async def test_shutting_down_ends_what_runs_and_leaves_nothing(root, regime):
    """The uploader is told 503; the job failed because of the shutdown."""
    async with serving(root, handler_cancellation=regime) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 1000)[:-2])
        job = await upload.began(900)
        stopping = asyncio.create_task(server.runner.cleanup())
        status, body, _ = await upload.response
        assert (status, body["code"]) == (503, "shutdown")
        await stopping
    assert (job.state, job.reason) == (State.FAILED, "shutdown")
    assert [path.name for path in root.iterdir()] == [".staging"]
    assert list((root / ".staging").iterdir()) == []


async def test_a_shutdown_that_is_held_up_leaves_nothing_either(root):
    """on_received is not to be cancelled in time: its files are gone with the storage, and nothing is published."""
    deciding, may_end = asyncio.Event(), asyncio.Event()

    async def on_received(job, files):
        deciding.set()
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()

    async with serving(root, config={"terminate_timeout": 0.02}, on_received=on_received) as server:
        upload = HeldUpload(server)
        upload.send(form(part("a", b"x")))
        upload.end()
        await deciding.wait()
        stopping = asyncio.create_task(server.runner.cleanup())
        await eventually(lambda: not list((root / ".staging").iterdir()))
        may_end.set()
        await stopping
    assert [path.name for path in root.iterdir()] == [".staging"]
    assert list((root / ".staging").iterdir()) == []


async def test_an_application_can_be_started_again(root):
    """After a cleanup it takes jobs as before."""
    app = create_app(Config(root=root))
    for name in ("first", "second"):
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{site.port}/upload"
            async with client.post(url, data=form(part(name, b"x")), headers=FORM) as response:
                assert response.status == 201
        await runner.cleanup()


async def test_a_cancellation_of_on_receiveds_own_is_a_refusal(root, regime):
    """`on_received` awaited a task that was cancelled; the upload itself was not, so its client gets an answer."""

    async def on_received(job, files):
        inner = asyncio.ensure_future(asyncio.sleep(3600))
        inner.cancel()
        await inner

    async with serving(root, handler_cancellation=regime, on_received=on_received) as server:
        response = await server.upload("a", b"x")
        assert (response.status, (await response.json(content_type=None))["code"]) == (422, "refused")
        assert server.published() == {}


async def test_two_servers_on_one_root_do_not_meet_in_staging(root):
    """Even if a client gives both the same Job-Id."""
    same = {"Job-Id": "12345678-1234-4234-8234-123456789abc"}
    async with serving(root) as one, serving(root) as two:
        uploads = [HeldUpload(server, same) for server in (one, two)]
        for number, upload in enumerate(uploads):
            upload.send(part(f"f{number}", b"x" * 100)[:-2])
            await upload.began(90)
        for upload in uploads:
            upload.send(b"\r\n" + form())
            upload.end()
            assert (await upload.response)[0] == 201
    assert {path.name for path in root.iterdir()} == {".staging", "f0", "f1"}


async def test_a_root_that_cannot_be_used_stops_the_start(tmp_path):
    with pytest.raises(StorageUnusable):
        async with serving(tmp_path / "no" / "such" / "parent"):
            pytest.fail("started")


async def not_a_generator():
    return b""


async def two_arguments(request, more):
    yield b""


@pytest.mark.parametrize(
    ("exports", "error"),
    [
        ({"a": not_a_generator}, ConfigError),
        ({"a": two_arguments}, ConfigError),
        ({"a": b"bytes"}, ConfigError),
        ({"../a": rows}, InvalidName),
    ],
)
def test_an_export_that_cannot_stand_is_refused_at_once(exports, error):
    with pytest.raises(error):
        create_app(exports=exports)


async def test_a_host_with_middlewares_of_its_own_sees_ordinary_responses(root):
    """Refusals reach it as responses, not as exceptions."""
    statuses = []

    @web.middleware
    async def watch(request, handler):
        response = await handler(request)
        statuses.append(response.status)
        return response

    app = create_app(Config(root=root), authenticate=lambda request: User("alice"))
    host = web.Application(middlewares=[watch])
    host.add_subapp("/t", app)
    runner = web.AppRunner(host)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as client:
        for method, path in (("POST", "/upload"), ("GET", "/jobs/x"), ("GET", "/jobs")):
            await (await client.request(method, f"http://127.0.0.1:{site.port}/t{path}")).release()
    await runner.cleanup()
    await eventually(lambda: len(statuses) == 3)
    assert statuses == [415, 404, 200]


async def test_on_received_is_asked_when_every_byte_is_durable(root, monkeypatch):
    """What it says yes to would survive a power cut (G3)."""
    order = []

    async def on_received(job, files):
        order.append("asked")

    async with serving(root, on_received=on_received) as server:
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (order.append("synced"), real(fd)))
        assert (await server.upload("a", b"x")).status == 201
    assert order[:2] == ["synced", "asked"]


async def test_the_storage_is_closed_when_the_last_job_has_ended(root):
    live = []

    class Watched(LocalStorage):
        async def close(self):
            live.append(server.jobs.live())
            await super().close()

    async with serving(root, storage=Watched(root)) as server:
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 1000)[:-2])
        await upload.began(900)
    assert live == [[]]


async def test_a_host_that_fails_after_100_continue_can_still_say_so(root):
    """The interim response does not count as an answer."""

    @web.middleware
    async def broken(request, handler):
        await handler(request)
        raise ZeroDivisionError

    async with serving(root, host_middleware=broken) as server:
        async with server.client.post(
            server.url + "/upload", data=form(part("a", b"x")), headers=FORM, expect100=True
        ) as response:
            assert response.status == 500
