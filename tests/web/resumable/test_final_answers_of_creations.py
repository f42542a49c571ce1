"""Creations with content: a client whose upload is terminated is told so, and a failed one is not called terminated."""

import asyncio
import json
from uuid import uuid4

import pytest

from support import eventually, serving
from tus import BYTES, call, create, held, named, patch

WHOLE, MORE = {"Upload-Complete": "?1"}, {"Upload-Complete": "?0"}
IETF = {"Tus-Resumable": None}
DRAFT = IETF | {"Upload-Draft-Interop-Version": "8"}
LENGTH = {"Upload-Length": "3"}
WRONG = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
WRONG_DIGEST = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}


def with_id():
    return {"Job-Id": str(uuid4())}


async def tus_creation(server):
    return await call(server, "POST", "/tus/", BYTES | LENGTH | named("a"), data=b"123")


async def tus_creation_with_an_id(server):
    return await call(server, "POST", "/tus/", BYTES | LENGTH | named("a") | with_id(), data=b"123")


async def tus_creation_of_nothing(server):
    return await call(server, "POST", "/tus/", {"Upload-Length": "0"} | named("a"))


async def tus_creation_of_a_whole(server):
    part = await create(server, 3, headers={"Upload-Concat": "partial"})
    assert (await patch(server, part, 0, b"123")).status == 204
    return await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{part}"} | named("a"))


async def ietf_creation(server):
    return await call(server, "POST", "/upload?filename=a", IETF | WHOLE, data=b"123")


async def ietf_creation_with_an_id(server):
    return await call(server, "POST", "/upload?filename=a", IETF | WHOLE | with_id(), data=b"123")


async def ietf_creation_with_a_version(server):
    return await call(server, "POST", "/upload?filename=a", DRAFT | WHOLE, data=b"123")


async def ietf_creation_of_some(server):
    return await call(server, "POST", "/upload?filename=a", DRAFT | MORE, data=b"123")


def by_name(function):
    return getattr(function, "__name__", None)


@pytest.mark.parametrize(
    "send",
    [
        tus_creation,
        tus_creation_with_an_id,
        tus_creation_of_nothing,
        tus_creation_of_a_whole,
        ietf_creation,
        ietf_creation_with_an_id,
        ietf_creation_with_a_version,
        ietf_creation_of_some,
    ],
    ids=by_name,
)
async def test_a_creation_that_is_terminated_at_any_moment_is_told_so(root, send):
    """After however many turns of the loop that is: 410 `terminated` and nothing left, or a success that stands."""
    async with serving(root) as server:
        ending = {}

        async def end(job, turns):
            for _ in range(turns):
                await asyncio.sleep(0)
            return await call(server, "DELETE", f"/jobs/{job.id}")

        def changed(job, by):
            if not ending and job.names == ("a",) and not job.state.ended:
                ending[job] = asyncio.create_task(end(job, turns))

        server.jobs.listen(changed)
        for turns in range(30):
            answer = await send(server)
            ((job, task),) = ending.items()
            told = await task
            ending.clear()
            if answer.status == 201 and send is not ietf_creation_of_some:
                assert (told.status, job.state) == (409, "completed")
            elif answer.status != 201:
                assert (answer.status, json.loads(answer.body)["code"]) == (410, "terminated"), f"after {turns} turns"
                assert (told.status, job.state) == (200, "terminated")
            (root / "a").unlink(missing_ok=True)
            assert [name for name in server.staged() if name in (f"{job.id}.kept", f"{job.id}.part")] == []


# What fails.


async def of_the_wrong_sum(server, body):
    return await call(server, "POST", "/tus/", BYTES | LENGTH | {"Upload-Checksum": f"sha1 {WRONG}"}, data=b"123")


async def of_the_wrong_digest(server, body):
    return await call(server, "POST", "/upload?filename=a", IETF | WHOLE | WRONG_DIGEST, data=b"123")


async def of_too_many_bytes(server, body):
    async def more():
        yield b"1234"

    return await call(server, "POST", "/tus/", BYTES | LENGTH, data=more())


async def of_an_idle_client(server, body):
    return await call(server, "POST", "/tus/", BYTES | LENGTH, data=body)


async def of_an_idle_client_of_the_ietfs(server, body):
    return await call(server, "POST", "/upload?filename=a", IETF | WHOLE, data=body)


@pytest.mark.parametrize(
    ("send", "status", "reason"),
    [
        (of_the_wrong_sum, 460, "checksum-mismatch"),
        (of_the_wrong_digest, 400, "digest-mismatch"),
        (of_too_many_bytes, 413, "too-large"),
        (of_an_idle_client, 408, "idle-timeout"),
        (of_an_idle_client_of_the_ietfs, 408, "idle-timeout"),
    ],
    ids=by_name,
)
async def test_a_creation_that_fails_has_failed_and_says_why(root, send, status, reason):
    """Nobody has terminated it; of what its client could not know nothing is left."""
    async with serving(root, config={"idle_timeout": 0.2, "watch_interval": 0.05}) as server:
        with held(b"1") as body:
            answer = await send(server, body)
        assert (answer.status, json.loads(answer.body)["code"]) == (status, reason)
        await eventually(lambda: not server.jobs.live(), "its end")
        assert await outcome(server) == ("failed", None, reason)
        assert server.staged() == []


async def outcome(server):
    async with server.client.get(server.url + "/jobs") as response:
        (job,) = (await response.json())["jobs"]
    return job["state"], job["ended_by"], job["reason"]


@pytest.mark.parametrize(
    "head",
    [
        "POST /tus/ HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 9\r\n"
        "Content-Type: application/offset+octet-stream\r\n",
        "POST /upload?filename=a HTTP/1.1\r\nUpload-Complete: ?1\r\n",
        "POST /upload?filename=a HTTP/1.1\r\nUpload-Complete: ?0\r\n",
    ],
    ids=["tus", "ietf", "ietf, not all"],
)
async def test_a_creation_whose_client_went_away_was_disconnected(root, regime, head):
    """Its client cannot know its URL: the upload has failed, and no user ended it."""
    async with serving(root, handler_cancellation=regime, config={"watch_interval": 0.05}) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"{head}Host: x\r\nContent-Length: 9\r\n\r\n123".encode())
        job = await server.one_live_job()
        await eventually(lambda: job.bytes_done == 3, "its bytes")
        writer.close()
        await eventually(lambda: not server.jobs.live(), "its end")
        assert await outcome(server) == ("failed", None, "disconnected")
        assert server.staged() == []
