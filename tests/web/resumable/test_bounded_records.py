"""What uploads cost besides their bytes is bounded too: records, promises, what is made of parts, what is looked up."""

import base64
import errno
import os
from uuid import uuid4

import pytest

from headgate.storage import LocalStorage
from support import as_user, eventually, serving, token_users
from tus import BYTES, call, create, job_id, named, patch

NOTHING = {"Upload-Length": "0"}
IETF = {"Tus-Resumable": None}
PARTIAL = {"Upload-Concat": "partial"}

#: More than any disk has free.
EVERYTHING = 2**60


def long(number):
    """Metadata of 7.5 KB, which a record keeps."""
    name, rest = (base64.b64encode(text.encode()).decode() for text in (f"file {number}", "x" * 5500))
    return {"Upload-Metadata": f"filename {name},rest {rest}"}


def of_records(server):
    """Bytes beside the files."""
    return sum(path.stat().st_size for path in (server.root / ".staging").iterdir())


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/tus/", NOTHING, id="tus, empty"),
        pytest.param("/tus/", NOTHING | PARTIAL, id="tus, an empty part"),
        pytest.param("/tus/", {"Upload-Defer-Length": "1"}, id="tus, of unknown length"),
        pytest.param("/upload?filename=a", IETF | {"Upload-Complete": "?0"}, id="ietf, of unknown length"),
        pytest.param("/upload?filename=a", IETF | {"Upload-Complete": "?1"}, id="ietf, empty"),
    ],
)
async def test_every_creation_looks_at_what_is_free(root, path, headers):
    """507 `storage-full` where less is free than is to be, however little it wants; nothing is left of it."""
    async with serving(root, config={"min_free": EVERYTHING}) as server:
        answer = await call(server, "POST", path, headers, data=b"")
        assert (answer.status, b"storage-full" in answer.body) == (507, True)
        assert (server.staged(), server.published(), server.jobs.live()) == ([], {}, [])


async def test_records_count_for_the_quota(root):
    """Empty uploads with much to say: what is kept of them stays within what their owner may have."""
    quota = 100_000
    async with serving(root, config={"quota_per_owner": quota}, authenticate=token_users) as server:
        for number in range(40):
            answer = await call(server, "POST", "/tus/", NOTHING | long(number) | as_user("alice"))
            assert answer.status in (201, 429, 507)
        assert of_records(server) <= quota
        assert (await call(server, "POST", "/tus/", NOTHING | long(99) | as_user("bob"))).status == 201


async def test_outcomes_that_are_told_are_bounded_for_each_owner(root):
    """Without a quota, too: the owner's oldest are forgotten, and none of another owner."""
    config = {"max_outcomes_per_owner": 10, "sweep_interval": 0.1}
    async with serving(root, config=config, authenticate=token_users) as server:
        theirs = await create(server, 0, headers=named("theirs") | as_user("bob"))
        urls = [await create(server, 0, headers=long(number) | as_user("alice")) for number in range(40)]
        records = [name for name in server.staged() if name.endswith(".json")]
        assert len(records) <= 2 * 10 + 1
        assert (await call(server, "HEAD", urls[-1], as_user("alice"))).status == 200
        assert (await call(server, "HEAD", theirs, as_user("bob"))).status == 200
        assert len(server.published()) == 41


# What is made of parts.


async def test_what_a_whole_may_make_is_promised_before(root):
    """A part that is named again and again counts as often: 507 before anything is made, when the length is known."""
    async with serving(root, config={"quota": 500_000}) as server:
        part = await create(server, 10_000, headers=PARTIAL)
        final = {"Upload-Concat": "final;" + " ".join([part] * 60)} | named("a")
        answer = await call(server, "POST", "/tus/", final)
        assert (answer.status, b"quota-exceeded" in answer.body) == (507, True)
        assert [name for name in server.staged() if job_id(part) not in name] == []
        final = {"Upload-Concat": f"final;{part} {part}"} | named("a")
        assert (await call(server, "POST", "/tus/", final)).status == 201
        assert (await patch(server, part, 0, b"x" * 10_000)).status == 204
        await eventually(lambda: len(server.published().get("a", b"")) == 20_000, "the whole")


async def test_what_wholes_of_one_part_make_together_is_bounded(root):
    """Without a quota one owner's may have as much as one file: a few bytes do not become many files."""
    async with serving(root, config={"max_file_size": 1_000_000}) as server:
        part = await create(server, 10_000, headers=PARTIAL)
        answers = [
            await call(
                server, "POST", "/tus/", {"Upload-Concat": "final;" + " ".join([part] * 50)} | named(f"a{number}")
            )
            for number in range(10)
        ]
        assert {answer.status for answer in answers} - {413, 507} <= {201}
        await patch(server, part, 0, b"x" * 10_000)
        await eventually(lambda: not server.jobs.live(), "the ends of all")
        made = sum(len(data) for data in server.published().values())
        assert made <= 1_000_000


# A disk that is full.


def fill(monkeypatch, function):
    """From now on `function` of the system finds no room for a record."""
    real = getattr(os, function)

    def fails(what, *args, **kwargs):
        name = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
        if ".kept" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(what, *args, **kwargs)

    monkeypatch.setattr(os, function, fails)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/tus/", {"Upload-Length": "10"}, id="tus"),
        pytest.param("/tus/", {"Upload-Length": "3"} | BYTES, id="tus, with bytes"),
        pytest.param("/upload?filename=a", IETF | {"Upload-Complete": "?1"}, id="ietf"),
    ],
)
@pytest.mark.parametrize("fault", ["fsync", "rename"])
async def test_a_creation_for_which_there_is_no_room_leaves_nothing(root, monkeypatch, path, headers, fault):
    """507, and no name of it in the directory; the next one has the room."""
    async with serving(root) as server:
        fill(monkeypatch, fault)
        answer = await call(server, "POST", path, headers, data=b"123" if headers.get("Upload-Length") != "10" else b"")
        assert answer.status == 507
        assert (server.staged(), server.jobs.live()) == ([], [])
        monkeypatch.undo()
        assert (await call(server, "POST", path, headers, data=b"")).status == 201


async def test_what_cannot_be_noted_takes_nothing_of_the_quota(root, monkeypatch):
    """An upload that a killed process published without noting it: however often a client asks
    for it on a full disk, the quota is as before."""
    async with serving(root) as server:
        url = await create(server, 10, headers=named("a"))
    path, kept = f"/tus/{job_id(url)}", root / ".staging" / f"{job_id(url)}.kept"
    kept.write_bytes(b"0123456789")
    os.link(kept, root / "a")
    fill(monkeypatch, "rename")
    async with serving(root, config={"quota": 100}) as server:
        for _ in range(20):
            assert (await call(server, "HEAD", path)).status in (200, 507)
        monkeypatch.undo()
        async with await server.upload("b", b"x" * 80) as response:
            assert response.status == 201
        assert (await call(server, "HEAD", path)).status == 200
        assert server.published() == {"a": b"0123456789", "b": b"x" * 80}


async def test_a_strangers_upload_is_looked_up_as_one_that_never_was(root):
    """The same looks at the disk, so that their time tells nothing (G6)."""
    looks = []

    class Watched(LocalStorage):
        async def find_partial(self, id):  # noqa: A002 - as the contract has it
            looks.append(id)
            return await super().find_partial(id)

    async with serving(root, storage=Watched(root), authenticate=token_users) as server:
        live = job_id(await create(server, 10, headers=named("a") | as_user("alice")))
        complete = job_id(await create(server, 0, headers=named("b") | as_user("alice")))

        async def cost(id_):
            looks.clear()
            answers = [await call(server, method, f"/tus/{id_}", as_user("bob")) for method in ("HEAD", "DELETE")]
            assert {answer.status for answer in answers} == {404}
            return len(looks)

        assert await cost(live) == await cost(str(uuid4())) == await cost(complete)
