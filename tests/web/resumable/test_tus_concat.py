"""Concatenation: uploads that are sent in parts, and made one."""

import json

import pytest

from support import as_user, eventually, serving, token_users
from tus import BYTES, call, create, job_id, named, offset, patch

PARTIAL = {"Upload-Concat": "partial"}


@pytest.fixture
async def server(root, regime):
    async with serving(root, handler_cancellation=regime, config={"max_file_size": 1000}) as server:
        yield server


async def part_of(server, data, **headers):
    url = await create(server, len(data), headers=PARTIAL | headers)
    assert (await patch(server, url, 0, data, **headers)).status == 204
    return url


async def final_of(server, *urls, **headers):
    return await call(server, "POST", "/tus/", {"Upload-Concat": "final;" + " ".join(urls)} | named("whole") | headers)


@pytest.mark.parametrize("as_path", [False, True])
async def test_parts_become_one_in_their_order(server, as_path):
    """Repeats allowed, URLs absolute or paths; the parts themselves are never published, and their bytes are free."""
    a, b = await part_of(server, b"aaa"), await part_of(server, b"bb")
    assert server.published() == {}
    urls = [a, b, a]
    if as_path:
        urls = [url.removeprefix(server.url) for url in urls]
    final = await final_of(server, *urls)
    assert (final.status, final["Upload-Expires"]) == (201, None)
    assert server.published() == {"whole": b"aaabbaaa"}
    head = await call(server, "HEAD", final["Location"])
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("8", "8")
    assert head["Upload-Concat"] == "final;" + " ".join(urls)
    assert head["Upload-Metadata"] == named("whole")["Upload-Metadata"]
    assert (await call(server, "HEAD", a))["Upload-Concat"] == "partial"
    assert not [name for name in server.staged() if name.endswith(".kept")]
    assert server.jobs.live() == []


async def test_nothing_can_be_added_to_a_final_upload(server):
    """403, before it is made and afterwards."""
    a = await create(server, 3, headers=PARTIAL)
    pending = (await final_of(server, a))["Location"]
    for _ in range(2):
        assert (await patch(server, pending, 0, b"x")).status == 403
        assert await offset(server, a) in (0, 3)
        if await offset(server, a) == 0:
            await patch(server, a, 0, b"aaa")
    assert server.published() == {"whole": b"aaa"}


async def test_a_final_upload_may_be_asked_for_before_its_parts_are_there(server):
    """It has no offset until it is made; that is when the last byte of the last part has come."""
    a, b = await create(server, 3, headers=PARTIAL), await create(server, 2, headers=PARTIAL)
    final = await final_of(server, a, b)
    assert final.status == 201
    head = await call(server, "HEAD", final["Location"])
    assert (head.status, head["Upload-Offset"]) == (200, None)
    await patch(server, b, 0, b"bb")
    await patch(server, a, 0, b"a")
    assert server.published() == {}
    await patch(server, a, 1, b"aa")
    await eventually(server.published)
    head = await call(server, "HEAD", final["Location"])
    assert (head["Upload-Offset"], head["Upload-Length"]) == ("5", "5")
    assert server.published() == {"whole": b"aaabb"}


async def test_who_did_not_get_the_answer_may_ask_again(server):
    """The same parts are the same upload; for any other the bytes are spent."""
    a, b = await part_of(server, b"aaa"), await part_of(server, b"bb")
    final = await final_of(server, a, b)
    assert await offset(server, a) == 3
    again = await final_of(server, a, b)
    assert (again.status, again["Location"]) == (201, final["Location"])
    assert (await final_of(server, b, a)).status == 410


@pytest.mark.parametrize("moment", ["before", "while it waits"])
async def test_without_a_part_there_is_no_whole(server, moment):
    a, b = await part_of(server, b"aaa"), await create(server, 2, headers=PARTIAL)
    if moment == "before":
        await call(server, "DELETE", b)
        assert (await final_of(server, a, b)).status == 410
        return
    final = (await final_of(server, a, b))["Location"]
    await call(server, "DELETE", b)
    await eventually(lambda: [job.id for job in server.jobs.live()] != [] and len(server.jobs.live()) == 1)
    assert (await call(server, "HEAD", final)).status == 410
    assert server.published() == {}
    assert await offset(server, a) == 3


@pytest.mark.parametrize(
    ("urls", "headers", "status"),
    [
        (["/tus/9d5c6a1c-9a53-4c0e-8c6f-0d6f7a1b7c11"], {}, 404),
        (["/elsewhere"], {}, 404),
        (["http://[bad/"], {}, 404),
        (["{whole}"], {}, 404),
        (["{part}"], {"Upload-Length": "3"}, 400),
        (["{part}"], {"Upload-Defer-Length": "1"}, 400),
        (["{part}"] * 4, {}, 413),
    ],
)
async def test_a_final_upload_that_is_not_right_is_refused_and_leaves_nothing(server, urls, headers, status):
    places = {"part": await part_of(server, b"a" * 300), "whole": await create(server, 3)}
    places = {name: url.removeprefix(server.url)[-41:] for name, url in places.items()}
    live = len(server.jobs.live())
    answer = await final_of(server, *(url.format(**places) for url in urls), **headers)
    assert answer.status == status, json.loads(answer.body)
    assert len(server.jobs.live()) == live
    assert server.published() == {}


async def test_a_taken_name_ends_the_whole_and_leaves_the_parts(server):
    a = await part_of(server, b"aaa")
    (server.root / "whole").write_bytes(b"old")
    assert (await final_of(server, a)).status == 409
    assert server.published() == {"whole": b"old"}
    assert await offset(server, a) == 3
    answer = await call(server, "POST", "/tus/?on_conflict=replace", {"Upload-Concat": f"final;{a}"} | named("whole"))
    assert answer.status == 201
    assert server.published() == {"whole": b"aaa"}


async def test_others_parts_are_nobodys(root):
    async with serving(root, authenticate=token_users) as server:
        url = await part_of(server, b"aaa", **as_user("alice"))
        assert (await final_of(server, url, **as_user("bob"))).status == 404
        assert (await final_of(server, url, **as_user("root"))).status == 404
        assert (await final_of(server, url, **as_user("alice"))).status == 201


async def test_a_whole_that_waits_is_made_after_a_restart(root):
    """Whether its last part came before or after."""
    async with serving(root) as server:
        a, b = await part_of(server, b"aaa"), await create(server, 2, headers=PARTIAL)
        final = await final_of(server, a, b)
        ids = [job_id(url) for url in (b, final["Location"])]
    async with serving(root) as server:
        assert len(server.jobs.live()) == 3
        await call(server, "PATCH", f"/tus/{ids[0]}", BYTES | {"Upload-Offset": "0"}, data=b"bb")
        await eventually(server.published)
        assert await offset(server, f"/tus/{ids[1]}") == 5
        assert server.published() == {"whole": b"aaabb"}
