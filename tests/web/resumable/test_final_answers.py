"""What the client of a resumable upload is told when that is over: words that it takes as final (G1).

Clients of tus try 409, 423 and 5xx again: they ask how far the upload is, and, when it is gone, begin the same anew.
"""

import asyncio
import json
from uuid import uuid4

import pytest

from support import eventually, serving
from tus import BYTES, call, create, held, named, patch

WHOLE, MORE = {"Upload-Complete": "?1"}, {"Upload-Complete": "?0"}
PARTIAL = {"Content-Type": "application/partial-upload"}
DRAFT = {"Tus-Resumable": None, "Upload-Draft-Interop-Version": "8"}
LENGTH = {"Upload-Length": "10"}


def problem(answer):
    """The status, and the stable code that tells why."""
    return answer.status, json.loads(answer.body or b"{}").get("code")


async def tus_patch(server, data):
    return await patch(server, await create(server, 10, headers=named("a")), 0, data)


async def tus_patch_of_a_later_chunk(server, data):
    url = await create(server, 14, headers=named("a"))
    assert (await patch(server, url, 0, b"1234")).status == 204
    return await patch(server, url, 4, data)


async def tus_patch_by_another_method(server, data):
    url = await create(server, 10, headers=named("a"))
    headers = BYTES | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    return await call(server, "POST", url, headers, data=data)


async def tus_patch_of_unknown_length(server, data):
    url = await create(server, headers={"Upload-Defer-Length": "1"} | named("a"))
    return await patch(server, url, 0, data)


async def tus_patch_of_a_part(server, data):
    return await patch(server, await create(server, 10, headers={"Upload-Concat": "partial"}), 0, data)


async def tus_patch_with_a_checksum(server, data):
    url = await create(server, 10, headers=named("a"))
    return await patch(server, url, 0, data, Upload_Checksum="sha1 AzOk+Rnk1Js64VCDnuSf0BMwQVI=")


async def tus_creation(server, data):
    return await call(server, "POST", "/tus/", BYTES | LENGTH | named("a"), data=data)


async def tus_creation_with_an_id(server, data):
    headers = BYTES | LENGTH | named("a") | {"Job-Id": str(uuid4())}
    return await call(server, "POST", "/tus/", headers, data=data)


async def ietf_creation(server, data):
    return await call(server, "POST", "/upload?filename=a", DRAFT | WHOLE, data=data)


async def ietf_creation_of_some(server, data):
    return await call(server, "POST", "/upload?filename=a", DRAFT | MORE, data=data)


async def ietf_creation_without_a_version(server, data):
    return await call(server, "POST", "/upload?filename=a", {"Tus-Resumable": None} | WHOLE, data=data)


async def ietf_patch(server, data):
    begun = await call(server, "POST", "/upload?filename=a", DRAFT | MORE, data=b"")
    headers = DRAFT | PARTIAL | WHOLE | {"Upload-Offset": "0"}
    return await call(server, "PATCH", begun["Location"], headers, data=data)


SENDING = [
    tus_patch,
    tus_patch_of_a_later_chunk,
    tus_patch_by_another_method,
    tus_patch_of_unknown_length,
    tus_patch_of_a_part,
    tus_patch_with_a_checksum,
    tus_creation,
    tus_creation_with_an_id,
    ietf_creation,
    ietf_creation_of_some,
    ietf_creation_without_a_version,
    ietf_patch,
]


def by_name(send):
    return send.__name__


@pytest.mark.parametrize("send", SENDING, ids=by_name)
async def test_who_is_sending_what_is_terminated_is_told_for_good(root, send):
    """410 `terminated`, whatever it was sending; nothing of it is left."""
    await terminated(root, send, "/jobs/{id}")


@pytest.mark.parametrize(
    ("send", "way"),
    [
        (tus_patch, "/upload/terminate"),
        (tus_creation, "/upload/terminate?job={id}"),
        (tus_patch, "/tus/{id}"),
        (tus_creation_with_an_id, "/tus/{id}"),
        (ietf_patch, "/upload/terminate"),
        (ietf_creation, "/uploads/{id}"),
    ],
)
async def test_it_is_told_for_good_however_it_was_terminated(root, send, way):
    """By its job, by the caller's own, or as its protocol does it."""
    await terminated(root, send, way)


async def terminated(root, send, way):
    async with serving(root) as server:
        with held(b"123") as body:
            sending = asyncio.create_task(send(server, body))
            job = await server.one_live_job()
            await eventually(lambda: job.task is not None and job.bytes_done in (3, 7), "its bytes")
            ended = await call(server, "DELETE", way.format(id=job.id))
            assert ended.status in (200, 204)
            assert problem(await sending) == (410, "terminated")
        assert (server.staged(), server.published(), server.jobs.live()) == ([], {}, [])


@pytest.mark.parametrize("send", [tus_patch, ietf_creation, ietf_patch], ids=by_name)
async def test_it_is_final_in_both_regimes_and_while_it_is_paused(root, regime, send):
    """An upload that was held is told as any other when it is ended."""
    async with serving(root, handler_cancellation=regime) as server:
        with held(b"123") as body:
            sending = asyncio.create_task(send(server, body))
            job = await server.one_live_job()
            await eventually(lambda: job.task is not None and job.bytes_done == 3, "its bytes")
            job.pause()
            assert (await call(server, "DELETE", f"/jobs/{job.id}")).status == 200
            assert problem(await sending) == (410, "terminated")


@pytest.mark.parametrize("send", SENDING[:1] + SENDING[6:9] + SENDING[10:], ids=by_name)
@pytest.mark.parametrize("why", ["refused", "name-taken", "terminated"])
async def test_what_is_refused_in_the_end_is_refused_for_good(root, send, why):
    """If the service refuses the whole upload, its name is taken, or it is terminated: 410, with the reason's code."""
    approving = asyncio.Event()

    async def on_received(job, files):
        approving.set()
        if why == "refused":
            raise ValueError("not these")
        if why == "name-taken":
            (root / "a").write_bytes(b"theirs")
        else:
            await asyncio.Event().wait()

    async with serving(root, on_received=on_received) as server:
        sending = asyncio.create_task(send(server, b"0123456789"))
        await approving.wait()
        if why == "terminated":
            (job,) = server.jobs.live()
            assert (await call(server, "DELETE", f"/jobs/{job.id}")).status == 200
        assert problem(await sending) == (410, why)
        assert [name for name in server.staged() if not name.endswith(".json")] == []
        assert server.published() == ({"a": b"theirs"} if why == "name-taken" else {})


async def test_a_whole_of_parts_that_fails_fails_for_good(root):
    """Who waits for what is made of its parts, and cannot be, is not told what would have it send them again."""

    async def on_received(job, files):
        (root / "a").write_bytes(b"theirs")

    async with serving(root, on_received=on_received) as server:
        url = await create(server, 3, headers={"Upload-Concat": "partial"})
        assert (await patch(server, url, 0, b"123")).status == 204
        made = await call(server, "POST", "/tus/", {"Upload-Concat": f"final;{url}"} | named("a"))
        assert problem(made) == (410, "name-taken")
        assert server.published() == {"a": b"theirs"}
