"""Integrity (RFC 9530): digests that come are held against the bytes, those that are wanted are answered."""

import asyncio
import hashlib
from base64 import b64encode

import pytest

from headgate.transfer import digester
from support import FORM, HeldUpload, eventually, form, part, serving

DATA = bytes(range(256)) * 2000


def digest(data, algorithm="sha-256"):
    return f"{algorithm}=:{b64encode(hashlib.new(algorithm.replace('-', ''), data).digest()).decode()}:"


async def post(server, body, **headers):
    headers = FORM | {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.client.post(server.url + "/upload", data=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_a_body_with_its_digest_is_published(server, algorithm, field):
    body = form(part("a", DATA))
    status, _ = await post(server, body, **{field: digest(body, algorithm)})
    assert status == 201
    assert server.published() == {"a": DATA}


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_a_body_that_changed_on_its_way_is_refused_and_nothing_published(server, algorithm, field):
    """However little of it; and the epilogue, which belongs to no file, counts too."""
    body = form(part("a", DATA))
    for changed in (body.replace(b"\xff\x00", b"\xff\x01", 1), body + b"\r\n"):
        status, answer = await post(server, changed, **{field: digest(body, algorithm)})
        assert (status, answer["code"]) == (400, "digest-mismatch")
    assert server.published() == {}
    assert server.staged() == []


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_each_part_may_come_with_a_digest_of_its_own(server, field):
    """One that does not have its digest is enough for none to be published."""
    good = part("a", DATA, headers=f"{field}: {digest(DATA)}\r\n")
    bad = part("b", b"x", headers=f"{field}: {digest(DATA)}\r\n")
    for body in (form(good, bad), form(bad, good)):
        status, answer = await post(server, body)
        assert (status, answer["code"]) == (400, "digest-mismatch")
        assert "'b'" in answer["detail"]
    assert server.published() == {}
    assert (await post(server, form(good)))[0] == 201
    assert server.published() == {"a": DATA}


async def test_the_digest_of_the_request_may_be_that_of_its_one_file(server):
    """As a Repr-Digest, if there is one file only: what people have at hand. Of two files, neither's will do."""
    one, two = form(part("a", DATA)), form(part("a", DATA), part("b", b"x"))
    for body, headers in (
        (one, {"Repr-Digest": digest(b"x")}),
        (one, {"Content-Digest": digest(DATA)}),
        (one, {"Repr-Digest": digest(DATA), "Content-Digest": digest(DATA)}),
        (two, {"Repr-Digest": digest(DATA)}),
        (two, {"Repr-Digest": digest(b"x")}),
    ):
        status, answer = await post(server, body, **headers)
        assert (status, answer["code"]) == (400, "digest-mismatch")
    assert server.published() == {}
    assert (await post(server, one, Repr_Digest=digest(DATA), Content_Digest=digest(one)))[0] == 201
    assert server.published() == {"a": DATA}


async def test_every_digest_that_came_must_be_right(server):
    """One good one does not excuse a bad one; unknown ones are ignored."""
    body = form(part("a", DATA))
    wrong = digest(b"", "sha-512")
    for headers in (
        {"Content-Digest": f"{digest(body)}, {wrong}"},
        {"Content-Digest": digest(body), "Repr-Digest": wrong},
        {"Content-Digest": digest(b""), "Repr-Digest": digest(body)},
    ):
        assert (await post(server, body, **headers))[1]["code"] == "digest-mismatch"
    assert (await post(server, body, Content_Digest=f"{digest(body)}, md5=:AAAA:"))[0] == 201


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest", "Want-Repr-Digest"])
async def test_a_field_that_does_not_parse_is_refused_before_the_body(server, field):
    """Nothing of the body is read, and no job begins."""
    status, answer = await post(server, form(part("a", DATA)), **{field: "sha-256=nonsense"})
    assert (status, answer["code"]) == (400, "malformed-request")
    assert server.infos() == []


async def test_a_refused_digest_comes_before_anybody_is_asked(root):
    """The embedding service's check never sees what is not what was sent."""
    asked = []

    async def on_received(job, files):
        asked.append(files)

    async with serving(root, on_received=on_received) as server:
        body = form(part("a", DATA))
        assert (await post(server, body, Content_Digest=digest(b"")))[0] == 400
        assert asked == []
        assert (await post(server, body, Content_Digest=digest(body)))[0] == 201
        assert len(asked) == 1


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_the_digests_of_an_upload_are_told_to_who_wants_them(server, algorithm):
    """One for each file, in the algorithm that is preferred."""
    body = form(part("a", DATA), part("b", b""))
    _, answer = await post(server, body, Want_Repr_Digest=f"md5=10, sha-256=2, sha-512=1, {algorithm}=9")
    assert answer["files"] == [
        {"name": "a", "size": len(DATA), "repr_digest": digest(DATA, algorithm)},
        {"name": "b", "size": 0, "repr_digest": digest(b"", algorithm)},
    ]


async def export(server, name, **headers):
    async with server.client.post(server.url + "/export", json={"filename": name}, headers=headers) as response:
        return response.headers.get("Repr-Digest"), await response.read()


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=len)
async def test_the_digest_of_an_export_is_told_to_who_wants_it(server, root, data):
    """It is that of the bytes that follow. Who wants none, or only ones that we do not know, gets none."""
    (root / "a").write_bytes(data)
    assert await export(server, "a", **{"Want-Repr-Digest": "sha-512=1"}) == (digest(data, "sha-512"), data)
    for headers in ({}, {"Want-Repr-Digest": "md5=1"}, {"Want-Repr-Digest": "sha-256=0"}):
        assert await export(server, "a", **headers) == (None, data)


async def test_an_export_whose_digest_is_computed_can_be_terminated(root, monkeypatch):
    """A job from its first byte read: its client is told, and nothing was sent."""
    async with serving(root) as server:
        with (root / "big").open("wb") as file:
            file.truncate(100 * 2**30)
        request = server.client.post(
            server.url + "/export", json={"filename": "big"}, headers={"Want-Repr-Digest": "sha-256=1"}
        )
        task = asyncio.ensure_future(request.__aenter__())
        job = await server.one_live_job()
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as response:
            assert response.status == 200
        response = await task
        assert (response.status, (await response.json(content_type=None))["code"]) == (409, "terminated")
        assert job.bytes_done == 0


async def test_no_digest_is_computed_that_nobody_asked_for(server, root, monkeypatch):
    monkeypatch.setattr(digester.hashlib, "new", lambda name: pytest.fail(f"{name} is computed"))
    assert (await post(server, form(part("a", DATA))))[0] == 201
    assert await export(server, "a") == (None, DATA)


async def test_a_body_that_has_its_digest_but_is_terminated_stays_terminated(root):
    """The digest decides nothing once the upload has been terminated."""
    async with serving(root) as server:
        body = form(part("a", DATA))
        upload = HeldUpload(server, {"Content-Digest": digest(body)})
        upload.send(body[:-1])
        job = await upload.began(len(DATA) - 10)
        async with server.client.delete(f"{server.url}/jobs/{job.id}") as response:
            assert response.status == 200
        assert (await upload.response)[1]["code"] == "terminated"
        await eventually(lambda: server.staged() == [])
