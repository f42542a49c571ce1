"""How many jobs may run: refused clearly, and free again at once."""

import contextlib
import errno
import json
import os

import pytest

from headgate.storage.local.incoming import staged_file as staged
from support import HeldUpload, as_user, eventually, part, serving, token_users


@contextlib.asynccontextmanager
async def busy(root, regime=False, *, exports=None, **config):
    """A server with two live uploads of alice's."""
    async with serving(
        root, handler_cancellation=regime, authenticate=token_users, config=config, exports=exports
    ) as server:
        held = [HeldUpload(server, as_user("alice")) for _ in range(2)]
        for number, upload in enumerate(held):
            upload.send(part(f"held{number}", b"x" * 1000))
        await eventually(lambda: sum(job.bytes_done >= 500 for job in server.jobs.live()) == 2, "two live uploads")
        yield server, held
        for upload in held:
            upload.end()
            await upload.response


async def ask(server, user, call="upload"):
    if call == "upload":
        async with await server.upload("new", b"x", headers=as_user(user)) as response:
            return response.status, (await response.json(content_type=None)).get("code"), response.headers
    async with server.client.post(
        server.url + "/export", json={"filename": "there"}, headers=as_user(user)
    ) as response:
        body = await response.read()
        code = json.loads(body)["code"] if response.status >= 400 else None
        return response.status, code, response.headers


@pytest.mark.parametrize("call", ["upload", "export"])
@pytest.mark.parametrize(
    ("limit", "status", "code"), [("max_jobs_per_owner", 429, "too-many-jobs"), ("max_jobs", 503, "busy")]
)
async def test_one_job_too_many_is_refused_and_told_when_to_come_back(root, regime, call, limit, status, code):
    """429 for the owner's own limit, 503 for that of all; at an owner's limit other owners are served.

    Nothing is left.
    """
    async with busy(root, regime, **{limit: 2}) as (server, _):
        (root / "there").write_bytes(b"x")
        refused = await ask(server, "alice", call)
        assert refused[:2] == (status, code)
        assert int(refused[2]["Retry-After"]) > 0
        assert (await ask(server, "bob", call))[0] == (503 if limit == "max_jobs" else 201 if call == "upload" else 200)
        await eventually(lambda: len(server.jobs.live()) == 2 and len(server.staged()) == 2, "the two uploads alone")


@pytest.mark.parametrize("limit", ["max_jobs_per_owner", "max_jobs"])
async def test_a_slot_is_free_when_its_job_has_been_terminated(root, regime, limit):
    """At the answer of the terminate, not later (G1)."""
    async with busy(root, regime, **{limit: 2}) as (server, _):
        job = server.jobs.live()[0]
        async with server.client.delete(f"{server.url}/jobs/{job.id}", headers=as_user("alice")) as response:
            assert response.status == 200
        assert (await ask(server, "alice"))[0] == 201


async def test_control_calls_are_no_jobs(root):
    """However busy it is, one can look, and terminate."""
    async with busy(root, max_jobs=2) as (server, _):
        async with server.client.get(server.url + "/jobs", headers=as_user("alice")) as response:
            assert len((await response.json())["jobs"]) == 2
        async with server.client.delete(server.url + "/upload/terminate", headers=as_user("alice")) as response:
            assert response.status == 200


async def test_owners_that_have_no_jobs_any_more_are_forgotten(root):
    """The table of live jobs grows with live jobs only."""
    async with busy(root) as (server, _):
        for number in range(50):
            await ask(server, f"user{number}")
        assert set(server.jobs._admission._live_by_owner) == {"alice"}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_lack_of_descriptors_is_a_busy_server_not_a_broken_one(root, monkeypatch, caplog, number):
    """503, with a time to come back; no error in the log, nothing left."""
    real = os.open

    def full(path, flags, *args, **kwargs):
        if flags & os.O_WRONLY and "headgate" not in str(path):
            raise OSError(number, "Too many open files")
        return real(path, flags, *args, **kwargs)

    async with serving(root, authenticate=token_users) as server:
        monkeypatch.setattr(staged.os, "open", full)
        refused = await ask(server, "alice")
        monkeypatch.undo()
        assert refused[:2] == (503, "busy")
        assert "Retry-After" in refused[2]
        assert server.staged() == []
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert (await ask(server, "alice"))[0] == 201
