"""A task that waits for the end of a job learns its outcome, and no long work blocks the event loop."""

import asyncio
import os
import threading
from contextlib import ExitStack, asynccontextmanager
from uuid import UUID

import pytest

from headgate.errors import Terminated
from headgate.jobs import ResumableJob
from headgate.storage.local.partial import file_locks
from support import eventually, serving
from tus import call, create, held, job_id, named, patch


@asynccontextmanager
async def locked(root, monkeypatch, uploads):
    """Two servers, and `uploads` that the first receives just now and the second knows, too."""
    monkeypatch.setattr(file_locks, "MAX_TRIES", 2)
    async with serving(root) as first, serving(root) as second:
        stack = ExitStack()
        sending, ids = [], []
        for number in range(uploads):
            url = await create(first, 9, headers=named(f"a{number}"))
            ids.append(job_id(url))
            assert (await call(second, "HEAD", f"/tus/{ids[-1]}")).status == 200
            body = stack.enter_context(held(b"123"))
            sending.append(asyncio.create_task(patch(first, url, 0, body)))
            job = first.jobs.get_live(UUID(ids[-1]))
            await eventually(lambda job=job: job.bytes_done == 3, "its bytes")
        yield second, ids
        assert len(first.jobs.live()) == uploads
        stack.close()
        await asyncio.gather(*sending)


@pytest.mark.parametrize("uploads", [1, 2, 3])
async def test_a_terminate_that_ends_nothing_is_no_success(root, monkeypatch, uploads):
    """Another server holds all of them: 423, though none was named, and they live on."""
    async with locked(root, monkeypatch, uploads) as (second, _):
        answer = await call(second, "DELETE", "/upload/terminate")
        assert answer.status == 423
        assert len(second.jobs.live()) == uploads


async def test_every_waiter_learns_of_the_refusal(root, monkeypatch):
    """Also if another request terminates the job just when the refusal comes: no terminate answers for a job that
    lives."""
    cancel_stop, again = ResumableJob.cancel_stop, []

    def cancel_stop_and_stop(self, stop_error):
        cancel_stop(self, stop_error)
        if not again:  # as a request does that was waiting for its turn of the loop
            again.append(asyncio.create_task(call(second, "DELETE", f"/jobs/{self.id}")))
            self.stop(Terminated("somebody else"))

    async with locked(root, monkeypatch, 1) as (second, (id_,)):
        monkeypatch.setattr(ResumableJob, "cancel_stop", cancel_stop_and_stop)
        answers = await asyncio.gather(*(call(second, "DELETE", f"/jobs/{id_}") for _ in range(3)))
        answers.append(await again[0])
        assert [answer.status for answer in answers] == [423] * 4
        assert second.jobs.get_live(UUID(id_)).state in ("running", "interrupted")


async def test_terminates_without_end_are_all_refused(root, monkeypatch):
    """Hundreds, one after the other and at once: each is told the truth."""
    async with locked(root, monkeypatch, 1) as (second, (id_,)):

        async def ask(number):
            await asyncio.sleep(number / 1000)
            return (await call(second, "DELETE", f"/jobs/{id_}")).status

        assert set(await asyncio.gather(*(ask(number) for number in range(400)))) == {423}


@pytest.mark.parametrize("ending", ["/jobs/{id}", "/tus/{id}"])
async def test_a_part_that_ends_while_it_is_copied_is_freed_beside_the_loop(root, monkeypatch, ending):
    """Freeing the blocks of a big file takes long: no last close of one is on the loop (G7)."""
    fstat, close, on_the_loop, freed = os.fstat, os.close, [], []
    loop, copying, go = threading.get_ident(), threading.Event(), threading.Event()

    def watched(fd):
        status = fstat(fd)
        if not status.st_nlink and status.st_size:
            (on_the_loop if threading.get_ident() == loop else freed).append(fd)
        close(fd)

    def slow(real):
        def call_(*args):
            copying.set()
            go.wait(20)
            return real(*args)

        return call_

    size = 100_000
    async with serving(root) as server:
        url = await create(server, size, headers={"Upload-Concat": "partial"})
        assert (await patch(server, url, 0, b"x" * size)).status == 204
        for name in ("copy_file_range", "sendfile"):
            monkeypatch.setattr(os, name, slow(getattr(os, name)))
        making = asyncio.create_task(call(server, "POST", "/tus/", {"Upload-Concat": f"final;{url}"} | named("a")))
        await eventually(copying.is_set, "the copy")
        monkeypatch.setattr(os, "close", watched)
        ended = await call(server, "DELETE", ending.format(id=job_id(url)))
        assert ended.status in (200, 204)
        go.set()
        await making
        await eventually(lambda: freed or on_the_loop, "the last close")
    monkeypatch.undo()
    assert on_the_loop == []
