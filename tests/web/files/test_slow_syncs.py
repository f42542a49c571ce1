"""Whoever terminates waits for no sync to the disk, and for no lock, of others (G1, G7)."""

import asyncio
import fcntl
import os
import threading
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

from support import HeldUpload, eventually, part, serving
from tus import call, create, held, job_id, named, patch

#: Seconds. A terminate needs a few milliseconds.
SOON = 3

#: More than there are threads of any kind.
MANY = 20


@contextmanager
def stuck(monkeypatch, module, function):
    """While the block runs, calls of `function` that may wait do not end. Gives those that have begun."""
    real, go, begun = getattr(module, function), threading.Event(), []

    def slow(fd, *how):
        if how and how[0] != fcntl.LOCK_EX:
            return real(fd, *how)
        begun.append(fd)
        go.wait(30)
        return real(fd, *how)

    monkeypatch.setattr(module, function, slow)
    try:
        yield begun
    finally:
        monkeypatch.undo()
        go.set()


def deletes(server, urls):
    return [call(server, "DELETE", f"/files/there{number}") for number in range(MANY)]


def creations(server, urls):
    return [create(server, 10, headers=named(f"new{number}")) for number in range(MANY)]


def creations_of_the_ietfs(server, urls):
    headers = {"Tus-Resumable": None, "Upload-Complete": "?0"}
    return [call(server, "POST", f"/upload?filename=new{number}", headers, data=b"") for number in range(MANY)]


def lengths(server, urls):
    return [patch(server, url, 0, b"12", Upload_Length="3") for url in urls]


async def begin(server, ours, body):
    """An upload that is under way, or, of a resumable one, begun: its job, and the requests that send it."""
    if ours == "form":
        id_ = str(uuid4())
        upload = HeldUpload(server, {"Job-Id": id_})
        upload.send(part("form", b"x" * 1000)[:800])
        sending = upload.response
    else:
        url = await create(server, 10)
        id_ = job_id(url)
        if ours == "idle":
            return server.jobs.get_live(UUID(id_)), None
        sending = asyncio.create_task(patch(server, url, 0, body))
    job = await eventually(lambda: server.jobs.get_live(UUID(id_)), "the job")
    await eventually(lambda: job.bytes_done, "its bytes")
    return job, sending


@pytest.mark.parametrize("ours", ["form", "tus", "idle"])
@pytest.mark.parametrize(
    ("others", "module", "function"),
    [
        (deletes, os, "fsync"),
        (creations, os, "fsync"),
        (creations_of_the_ietfs, os, "fsync"),
        (lengths, os, "fsync"),
        (deletes, fcntl, "flock"),
    ],
)
async def test_terminate_waits_for_no_sync_and_no_lock_of_others(root, monkeypatch, ours, others, module, function):
    """However many of them do not end: what is terminated is gone at once, be it a form, or a resumable upload that
    comes just now, or that nobody sends."""
    async with serving(root) as server:
        for number in range(MANY):
            (root / f"there{number}").write_bytes(b"x")
        urls = [await create(server, headers={"Upload-Defer-Length": "1"}) for _ in range(MANY)]
        with held(b"123") as body:
            job, sending = await begin(server, ours, body)
            busy = [] if sending is None else [sending]
            try:
                with stuck(monkeypatch, module, function) as begun:
                    busy += [asyncio.create_task(other) for other in others(server, urls)]
                    await eventually(lambda: begun, "one that does not end")
                    for _ in range(MANY):  # the others get as far as they do
                        assert (await call(server, "GET", "/healthz")).status == 200
                    answer = await asyncio.wait_for(call(server, "DELETE", f"/jobs/{job.id}"), SOON)
                    assert answer.status == 200
                    assert [name for name in server.staged() if name.startswith(str(job.id))] == []
            finally:
                await asyncio.gather(*busy, return_exceptions=True)
