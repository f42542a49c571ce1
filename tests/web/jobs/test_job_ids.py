"""Ids that clients choose are their own: what a stranger has called by one changes nothing and tells nothing."""

import asyncio
import os
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

import tus
from support import FORM, HeldUpload, as_user, eventually, file_form, part, serving, token_users

ALICE, BOB = as_user("alice"), as_user("bob")
IETF = {"Upload-Complete": "?0"}
APPEND = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1", "Upload-Offset": "0"}


@pytest.fixture
async def team(root, regime):
    async with serving(root, handler_cancellation=regime, authenticate=token_users, exports={"rows": rows}) as team:
        (root / "there").write_bytes(b"there")
        os.utime(root / "there", (0, 0))  # a file younger than a second has no Last-Modified
        yield team


async def rows():
    yield b"row\n"


async def call(team, method, path, **options):
    async with team.client.request(method, team.url + path, **options) as response:
        return response.status, response.headers, await response.read()


async def told(team, user, id_):
    async with team.client.get(f"{team.url}/jobs/{id_}", headers=as_user(user)) as response:
        return await response.json() if response.status == 200 else None


async def put(team, headers):
    return await call(team, "PUT", "/files/b", data=b"bob's", headers=headers)


async def form(team, headers):
    return await call(team, "POST", "/upload", data=file_form("b", b"bob's"), headers=headers | FORM)


async def export(team, headers):
    return await call(team, "POST", "/export", json={"filename": "there"}, headers=headers)


async def export_by_field(team, headers):
    fields = {"filename": "there", "job": headers["Job-Id"]}
    return await call(team, "POST", "/export", data=fields, headers=BOB)


async def get(team, headers):
    return await call(team, "GET", "/files/there", headers=headers)


async def generated(team, headers):
    return await call(team, "GET", "/files/rows", headers=headers)


async def zipped(team, headers):
    return await call(team, "POST", "/export", json={"filenames": ["there"]}, headers=headers)


async def by_tus(team, headers):
    sent = tus.BYTES | tus.named("b") | {"Upload-Length": "5"} | headers
    answer = await tus.call(team, "POST", "/tus/", sent, data=b"bob's")
    return answer.status, answer.headers, answer.body


async def by_ietf(team, headers):
    return await call(team, "POST", "/upload?filename=b", data=b"bob's", headers=headers | {"Upload-Complete": "?1"})


CALLS = (put, form, export, export_by_field, get, generated, zipped, by_tus, by_ietf)


@asynccontextmanager
async def alices(team, state):
    """The id of an upload of alice's, which is live, waits for its rest, or has ended."""
    id_ = str(uuid4())
    if state == "live":
        upload = HeldUpload(team, ALICE | {"Job-Id": id_})
        upload.send(part("a", b"x" * 1000))
        await upload.began()
        yield id_
        upload.end()
    elif state == "waits":
        assert job_id(await tus.create(team, 9, headers=ALICE | {"Job-Id": id_})) == id_
        yield id_
    else:
        assert (await call(team, "PUT", "/files/a", data=b"alice's", headers=ALICE | {"Job-Id": id_}))[0] == 201
        yield id_


job_id = tus.job_id


@pytest.mark.parametrize("state", ["live", "waits", "ended"])
@pytest.mark.parametrize("transfer", CALLS)
async def test_an_id_that_a_stranger_has_is_as_good_as_a_free_one(team, transfer, state):
    """The answer is the one to a free id, the transfer runs under it, and each sees their own."""
    free = await transfer(team, BOB | {"Job-Id": str(uuid4())})
    await call(team, "DELETE", "/files/b", headers=BOB)
    async with alices(team, state) as id_:
        before = await told(team, "alice", id_)
        status, headers, body = await transfer(team, BOB | {"Job-Id": id_})
        assert status == free[0], body
        assert headers["Job-Id"] == id_
        # A file that was published within this second has no Last-Modified yet: that says nothing of the id.
        assert set(headers) - {"Last-Modified"} == set(free[1]) - {"Last-Modified"}
        job = await told(team, "bob", id_)
        assert (job["owner"], job["state"]) == ("bob", "completed")
        after = await told(team, "alice", id_)
        assert (after["owner"], after["state"], after["names"]) == ("alice", before["state"], before["names"])


async def test_each_controls_their_own(team):
    """Of two live transfers under one id, what one is told to do is done to theirs."""
    id_ = str(uuid4())
    uploads = {}
    for name in ("alice", "bob"):
        uploads[name] = HeldUpload(team, as_user(name) | {"Job-Id": id_})
        uploads[name].send(part(name, b"x" * 1000))
        await eventually(
            lambda name=name: uploads[name].response.done() or any(job.owner == name for job in team.jobs.live())
        )
    assert not uploads["bob"].response.done()
    path = f"/jobs/{id_}"
    status, _, _ = await call(team, "PATCH", path, json={"state": "paused"}, headers=BOB)
    assert status == 200
    states = [(await told(team, name, id_))["state"] for name in ("alice", "bob")]
    assert states == ["running", "paused"]
    async with team.client.get(team.url + "/jobs", headers=ALICE) as response:
        assert [job["owner"] for job in (await response.json())["jobs"]] == ["alice"]
    assert (await call(team, "DELETE", f"/upload/terminate?job={id_}", headers=BOB))[0] == 200
    status, body, _ = await uploads["bob"].response
    assert (status, body["code"]) == (409, "terminated")
    assert (await told(team, "alice", id_))["state"] == "running"
    uploads["alice"].send(file_form("more", b""))
    uploads["alice"].end()
    assert (await uploads["alice"].response)[0] == 201
    assert set(team.published()) == {"there", "alice", "more"}


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_two_resumable_uploads_under_one_id_are_two(team, protocol):
    """Each has its own bytes, its own end, and its own file."""
    id_ = str(uuid4())
    users = ("alice", "bob")
    urls = {}
    for name in users:
        own = as_user(name) | {"Job-Id": id_}
        if protocol == "tus":
            urls[name] = await tus.create(team, 5, headers=tus.named(name) | own)
        else:
            status, headers, body = await call(team, "POST", f"/upload?filename={name}", headers=own | IETF)
            assert status == 201, body
            urls[name] = headers["Location"]
    data = {"alice": b"ALICE", "bob": b"-bob-"}

    async def append(name):
        if protocol == "tus":
            sent = tus.BYTES | {"Upload-Offset": "0"} | as_user(name)
            return (await tus.call(team, "PATCH", urls[name], sent, data=data[name])).status
        path = urls[name].removeprefix(team.url)
        return (await call(team, "PATCH", path, data=data[name], headers=APPEND | as_user(name)))[0]

    statuses = await asyncio.gather(*(append(name) for name in users))
    assert all(status in (200, 201, 204) for status in statuses), statuses
    assert team.published() == {"there": b"there"} | data


@pytest.mark.parametrize("protocol", ["tus", "ietf"])
async def test_ending_ones_own_resumable_upload_ends_no_other(team, protocol):
    """The other one is where it was."""
    id_ = str(uuid4())
    urls = {}
    for name in ("alice", "bob"):
        own = as_user(name) | {"Job-Id": id_}
        if protocol == "tus":
            urls[name] = await tus.create(team, 5, headers=own)
        else:
            status, headers, body = await call(team, "POST", "/upload", headers=own | IETF)
            assert status == 201, body
            urls[name] = headers["Location"]
    assert (await tus.call(team, "DELETE", urls["bob"], BOB)).status == 204
    assert (await tus.call(team, "HEAD", urls["alice"], ALICE)).status in (200, 204)
    assert (await tus.call(team, "HEAD", urls["bob"], BOB)).status in (404, 410)


async def test_the_sight_of_it_tells_a_stranger_nothing(team):
    """A refused transfer is refused for what it is, and not for its id."""
    async with alices(team, "live") as id_:
        free = await call(team, "GET", "/files/no", headers=BOB | {"Job-Id": str(uuid4())})
        taken = await call(team, "GET", "/files/no", headers=BOB | {"Job-Id": id_})
        refused = await call(team, "PUT", "/files/there", data=b"", headers=BOB | {"Job-Id": id_, "If-Match": '"x"'})
        assert (free[0], taken[0], refused[0]) == (404, 404, 412)
        headers = BOB | {"Job-Id": id_} | FORM
        status, _, body = await call(team, "POST", "/upload", data=file_form("there", b""), headers=headers)
        assert (status, b"name-taken" in body) == (409, True)
