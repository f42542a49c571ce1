"""What goes wrong in one place stays there: observers, rounds of housekeeping, a start that fails, others who wait."""

import asyncio
import contextlib
import os
import threading

import pytest
from aiohttp import web

from headgate import Config, create_app
from headgate.errors import StorageFailed
from headgate.storage import LocalStorage
from headgate.storage.local.partial.partial_file import LocalPartialFile
from support import HeldUpload, eventually, part, serving
from tus import call, create, named, patch


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def threads_of_ours():
    return {thread.ident for thread in threading.enumerate() if thread.name.startswith("headgate")}


# A start that fails.


@pytest.mark.parametrize("error", [StorageFailed(), RuntimeError("unforeseen")], ids=["storage", "unforeseen"])
async def test_a_start_that_fails_leaves_nothing_open(root, error):
    """What was opened before it is closed: the storage's descriptors, and its threads."""

    class Unlisted(LocalStorage):
        async def list_partials(self):
            raise error

    before, others = descriptors(), threads_of_ours()
    app = create_app(Config(root=root), storage=Unlisted(root))
    runner = web.AppRunner(app)
    with pytest.raises(type(error)):
        await runner.setup()
    with contextlib.suppress(Exception):
        await runner.cleanup()
    await eventually(lambda: descriptors() <= before, "the descriptors closed")
    assert threads_of_ours() <= others


# Observers.


async def form(server):
    async with await server.upload("a", b"123") as response:
        return response.status


async def tus(server):
    url = await create(server, 3, headers=named("a"))
    return (await patch(server, url, 0, b"123")).status


async def ietf(server):
    headers = {"Tus-Resumable": None, "Upload-Complete": "?1"}
    return (await call(server, "POST", "/upload?filename=a", headers, data=b"123")).status


def breaks(job, by):
    raise RuntimeError("a watcher that breaks")


@pytest.mark.parametrize("send", [form, tus, ietf], ids=lambda send: send.__name__)
async def test_a_watcher_that_raises_breaks_no_transition(root, regime, send, caplog):
    """The upload is published, its job has completed and its place is free; others are told, and the log tells."""
    async with serving(root, handler_cancellation=regime, config={"max_jobs_per_owner": 1}) as server:
        told = []
        server.jobs.listen(breaks)
        server.jobs.listen(lambda job, by: told.append(job.state))
        for _ in range(2):
            assert await send(server) in (201, 204)
            assert server.published() == {"a": b"123"}
            assert server.jobs.live() == []
            assert told[-1] == "completed"
            (root / "a").unlink()
    assert "a watcher that breaks" in caplog.text


async def test_a_watcher_that_raises_holds_up_no_terminate(root, regime):
    """A command takes effect, also if its answer cannot be sent."""
    async with serving(root, handler_cancellation=regime) as server:
        server.jobs.listen(breaks)
        upload = HeldUpload(server)
        upload.send(part("a", b"x" * 1000)[:800])
        job = await upload.began(1)
        for state in ("paused", "running"):
            async with server.client.patch(f"{server.url}/jobs/{job.id}", json={"state": state}) as response:
                assert (response.status, (await response.json())["state"]) == (200, state)
        assert (await call(server, "DELETE", f"/jobs/{job.id}")).status == 200
        assert (server.staged(), server.jobs.live(), job.state) == ([], [], "terminated")
        assert (await upload.response)[0] == 409
        upload.end()


# Housekeeping.


async def test_a_round_of_the_storages_housekeeping_that_raises_is_not_the_last(root, caplog):
    """Whatever it raised: it is logged, and what killed processes leave is swept later."""

    class Uneven(LocalStorage):
        rounds = 0

        async def tidy(self):
            self.rounds += 1
            if self.rounds == 2:
                raise RuntimeError("an uneven round")
            await super().tidy()

    async with serving(root, storage=Uneven(root, sweep_interval=0.05)) as server:
        await eventually(lambda: "an uneven round" in caplog.text, "a line in the log")
        (root / ".staging" / "00000000-0000-4000-8000-000000000000.00000000.1").write_bytes(b"left")
        left = root / ".staging" / "00000000-0000-4000-8000-000000000000.00000000.1"
        os.utime(left, (0, 0))
        await eventually(lambda: not left.exists(), "the sweep", 5)
        assert (await call(server, "GET", "/readyz")).status == 200


async def test_a_round_of_the_uploads_housekeeping_that_raises_is_not_the_last(root, monkeypatch, caplog):
    """What has expired is ended in a later round."""
    touch, raised = LocalPartialFile.touch, []

    async def once(self):
        if not raised:
            raised.append(self.id)
            raise RuntimeError("an uneven round")
        await touch(self)

    monkeypatch.setattr(LocalPartialFile, "touch", once)
    async with serving(root, config={"sweep_interval": 0.05, "upload_expiry": 1.0}) as server:
        part_ = await create(server, 3, headers={"Upload-Concat": "partial"})
        whole = await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{part_}"} | named("a"))
        assert whole.status == 201
        await asyncio.sleep(0.02)
        assert (await patch(server, part_, 0, b"1")).status == 204
        await eventually(lambda: raised, "a round that raises")
        await eventually(lambda: not server.jobs.live(), "the expiry", 8)
        assert server.staged() == []
    assert "an uneven round" in caplog.text
