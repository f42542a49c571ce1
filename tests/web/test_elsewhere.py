"""What was done elsewhere holds here: an upload that another server on the root completed is completed, and one whose
file is gone, or is another's, is gone with it."""

import asyncio
from uuid import UUID

import pytest

from support import eventually, serving
from tus import BYTES, call, create, job_id, named, patch

WHOLE, MORE = {"Upload-Complete": "?1"}, {"Upload-Complete": "?0"}
IETF = {"Tus-Resumable": None}
APPEND = {"Content-Type": "application/partial-upload"}


async def create_ietf(server):
    answer = await call(server, "POST", "/upload?filename=a", IETF | MORE, data=b"")
    return answer["Location"]


async def complete(server, url):
    """Send all of the upload at `url`, in its own protocol."""
    if "/tus/" in url:
        assert (await patch(server, url, 0, b"123")).status == 204
    else:
        answer = await call(server, "PATCH", url, IETF | APPEND | WHOLE | {"Upload-Offset": "0"}, data=b"123")
        assert answer.status == 201


async def known_to_both(first, second, protocol):
    """An upload of the first, of which the second has heard: its id, and where the second has it."""
    url = await (create(first, 3, headers=named("a")) if protocol == "tus" else create_ietf(first))
    path = f"/tus/{job_id(url)}" if protocol == "tus" else f"/uploads/{job_id(url)}"
    assert (await call(second, "HEAD", path, {} if protocol == "tus" else IETF)).status in (200, 204)
    return url, path


async def job_of(server, url):
    async with server.client.get(f"{server.url}/jobs/{job_id(url)}") as response:
        return await response.json() if response.status == 200 else None


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
@pytest.mark.parametrize("way", ["/jobs/{id}", "/upload/terminate", "/upload/terminate?job={id}"])
async def test_what_one_has_completed_the_other_does_not_terminate(root, protocol, way):
    """409, or nothing to terminate where none was named; the file stays, and its job is one that completed (G2)."""
    async with serving(root) as first, serving(root) as second:
        url, _ = await known_to_both(first, second, protocol)
        await complete(first, url)
        answer = await call(second, "DELETE", way.format(id=job_id(url)))
        assert answer.status in ((409,) if "{id}" in way else (404, 409))
        assert first.published() == {"a": b"123"}
        told = await job_of(second, url)
        assert (told["state"], told["ended_by"], told["reason"], told["bytes_done"]) == ("completed", None, None, 3)
        assert second.jobs.live() == []


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_what_one_has_completed_does_not_expire_for_the_other(root, protocol):
    """However long ago the other heard of it: its job is one that completed."""
    async with (
        serving(root, config={"sweep_interval": 0.05}) as first,
        serving(root, config={"sweep_interval": 0.05, "upload_expiry": 0.6}) as second,
    ):
        url, _ = await known_to_both(first, second, protocol)
        await complete(first, url)
        await eventually(lambda: not second.jobs.live(), "the end of the job")
        assert second.jobs.get(UUID(job_id(url))).state == "completed"
        assert first.published() == {"a": b"123"}


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_an_end_by_the_protocol_is_the_same_on_either_server(root, protocol):
    """A client of tus takes back what it completed, one of the IETF's draft leaves what is published; neither is told
    that it was terminated."""
    async with serving(root) as first, serving(root) as second:
        url, path = await known_to_both(first, second, protocol)
        await complete(first, url)
        assert (await call(second, "DELETE", path, {} if protocol == "tus" else IETF)).status == 204
        assert first.published() == ({} if protocol == "tus" else {"a": b"123"})
        assert (await job_of(second, url))["state"] == "completed"
        assert second.staged() == []


async def test_a_part_that_one_has_made_a_part_the_other_does_not_terminate(root):
    """Of what is published nothing can be ended."""
    async with serving(root) as first, serving(root) as second:
        part = await create(first, 3, headers={"Upload-Concat": "partial"})
        assert (await call(second, "HEAD", f"/tus/{job_id(part)}")).status == 200
        assert (await patch(first, part, 0, b"123")).status == 204
        assert (await call(first, "POST", "/tus/", {"Upload-Concat": f"final;{part}"} | named("a"))).status == 201
        assert (await call(second, "DELETE", f"/jobs/{job_id(part)}")).status == 409
        assert (await job_of(second, part))["state"] == "completed"


# A file that is gone.


async def delete(server, root):
    assert (await call(server, "DELETE", "/files/a")).status == 204


async def delete_by_hand(server, root):
    (root / "a").unlink()


async def put_another(server, root):
    assert (await call(server, "PUT", "/files/a", data=b"456")).status == 200


async def put_another_by_hand(server, root):
    (root / "new").write_bytes(b"456")
    (root / "new").rename(root / "a")


async def truncate_by_hand(server, root):
    (root / "a").write_bytes(b"")


async def replace_by_another_upload(server, root):
    headers = BYTES | {"Upload-Length": "3"} | named("a")
    assert (await call(server, "POST", "/tus/?on_conflict=replace", headers, data=b"456")).status == 201


GONE = [
    delete,
    delete_by_hand,
    put_another,
    put_another_by_hand,
    truncate_by_hand,
    replace_by_another_upload,
]


@pytest.mark.parametrize("end", GONE, ids=lambda end: end.__name__)
async def test_a_complete_upload_is_gone_with_its_file(root, end):
    """410 for a request for its offset, and for one that says that all was sent: it was, and the file is gone."""
    async with serving(root, config={"on_conflict": "replace"}) as server:
        url = await create(server, 3, headers=named("a"))
        await complete(server, url)
        assert (await call(server, "HEAD", url)).status == 200
        await end(server, root)
        there = server.published()
        assert (await call(server, "HEAD", url)).status == 410
        assert (await patch(server, url, 3, b"")).status == 410
        assert server.published() == there


@pytest.mark.parametrize("end", [delete, put_another], ids=lambda end: end.__name__)
@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH"])
async def test_so_is_one_of_the_ietfs(root, end, method):
    """Who asks, or asks again for the final answer, is not told of a success."""
    async with serving(root) as server:
        url = await create_ietf(server)
        await complete(server, url)
        await end(server, root)
        headers = IETF | (APPEND | WHOLE | {"Upload-Offset": "3"} if method == "PATCH" else {})
        assert (await call(server, method, url, headers, data=b"" if method == "PATCH" else None)).status == 410


async def test_it_is_gone_for_a_server_that_never_saw_it(root):
    """After a restart, too."""
    async with serving(root) as server:
        url = await create(server, 3, headers=named("a"))
        await complete(server, url)
    async with serving(root) as server:
        path = f"/tus/{job_id(url)}"
        assert (await call(server, "HEAD", path)).status == 200
        (root / "a").unlink()
        assert (await call(server, "HEAD", path)).status == 410


async def test_parts_are_gone_with_the_file_that_they_made(root):
    """Their client sends them again, and the whole is there again."""
    async with serving(root) as server:
        parts = [await create(server, 3, headers={"Upload-Concat": "partial"}) for _ in range(2)]
        await asyncio.gather(*(complete(server, url) for url in parts))
        final = {"Upload-Concat": "final;" + " ".join(parts)} | named("a")
        assert (await call(server, "POST", "/tus/", final)).status == 201
        await delete(server, root)
        assert [(await call(server, "HEAD", url)).status for url in parts] == [410, 410]
        assert (await call(server, "POST", "/tus/", final)).status == 410
        assert server.published() == {}
