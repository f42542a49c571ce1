"""Files of an upload, received from a source in memory into a storage: all of them are published, or none."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from headgate.config import Config, OnConflict
from headgate.errors import InvalidName, InvalidOption, NameTaken, NoFiles, PreconditionFailed, Refused, TooLarge
from headgate.jobs import Kind, State
from headgate.jobs.job import Job
from headgate.storage import LocalStorage, Precondition
from headgate.transfer.inbound.approval import approve_and_finish
from headgate.transfer.inbound.incoming import parse_on_conflict
from headgate.transfer.inbound.receive import UploadRules, receive
from headgate.transfer.watchdog import ClientWait
from storages import get, put


@dataclass
class MemoryFile:
    filename: str
    chunks: list[bytes]
    digests: dict[str, bytes] = field(default_factory=dict)

    async def read(self):
        return self.chunks.pop(0) if self.chunks else b""


class MemorySource:
    """A body that brings `files`, pairs of name and chunks. `options`: what it says of taken names, file by file."""

    expected = None
    consumed = 0

    def __init__(self, *files, options=()):
        self._files = [MemoryFile(name, list(chunks)) for name, chunks in files]
        self._options = list(options)
        self.on_conflict = None
        self.waited = ClientWait()
        self.closed = False

    async def files(self):
        try:
            for file in self._files:
                self.on_conflict = self._options.pop(0) if self._options else self.on_conflict
                yield file
            self.on_conflict = self._options.pop(0) if self._options else self.on_conflict
        finally:
            self.closed = True

    def close(self):
        pass


@pytest.fixture
async def storage(tmp_path):
    storage = LocalStorage(tmp_path / "root")
    await storage.start()
    yield storage
    await storage.close()


async def received(storage, source, job=None, **rules):
    """What `receive` returns for `source`, under the default rules but for `rules`."""
    job = job or Job(uuid4(), Kind.UPLOAD, owner="alice")
    defaults = {"max_file_size": 1000, "max_upload_size": 1500, "on_conflict": OnConflict.REJECT}
    async with storage.stage(job.id, job.owner) as stage:
        return await receive(job, source, stage, UploadRules(**(defaults | rules)))


async def test_all_files_are_published_and_told_under_the_names_they_were_given(storage):
    await put(storage, ("a", b"there"))
    job = Job(uuid4(), Kind.UPLOAD, owner="alice")
    source = MemorySource(("a", [b"1", b"2"]), ("b", []))
    files = await received(storage, source, job, on_conflict=OnConflict.RENAME)
    assert [(file.name, file.size) for file in files] == [("a (1)", 2), ("b", 0)]
    assert all(file.published.entry.name == file.name for file in files)
    assert (await get(storage, "a (1)"), await get(storage, "b")) == (b"12", b"")
    assert (job.state, job.bytes_done, job.bytes_total, job.names) == (State.COMPLETED, 2, 2, ("a (1)", "b"))
    assert source.closed


REFUSED = {
    "no file": (MemorySource(), {}, NoFiles),
    "a name that cannot be": (MemorySource(("good", [b"x"]), ("../bad", [b"x"])), {}, InvalidName),
    "a reserved name": (MemorySource(("good", []), ("made", [b"x"])), {"reserved": frozenset({"made"})}, NameTaken),
    "a file that is too large": (MemorySource(("good", []), ("a", [b"x" * 600, b"x" * 401])), {}, TooLarge),
    "files that are too large together": (MemorySource(("a", [b"x" * 800]), ("b", [b"x" * 701])), {}, TooLarge),
    "another rule after the first file": (
        MemorySource(("a", [b"x"]), options=[None, OnConflict.REPLACE]),
        {},
        InvalidOption,
    ),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_what_is_refused_leaves_nothing_of_any_file(storage, why):
    source, rules, error = REFUSED[why]
    with pytest.raises(error):
        await received(storage, source, **rules)
    assert await storage.list(None, 10) == []
    assert source.closed


async def test_what_the_body_says_of_taken_names_counts_before_the_rules(storage):
    await put(storage, ("a", b"there"))
    source = MemorySource(("a", [b"new"]), options=[OnConflict.REPLACE])
    (file,) = await received(storage, source, on_conflict=OnConflict.RENAME)
    assert (file.name, file.published.replaced) == ("a", True)


async def test_the_precondition_is_compared_with_the_file_that_is_replaced(storage):
    """An upload that expected another file replaces nothing."""
    await put(storage, ("a", b"there"))
    there = await storage.stat("a")
    for etag, expected in (("another", b"there"), (there.etag, b"new")):
        precondition = Precondition(etags=frozenset({etag}))
        with contextlib.suppress(PreconditionFailed):
            source = MemorySource(("a", [b"new"]))
            await received(storage, source, on_conflict=OnConflict.REPLACE, precondition=precondition)
        assert await get(storage, "a") == expected


async def test_the_rules_are_those_of_the_configuration():
    config = Config(max_file_size=10, max_upload_size=30, on_conflict="rename")
    rules = UploadRules.of(config, reserved=frozenset({"made"}), on_received=None)
    assert (rules.max_file_size, rules.max_upload_size, rules.on_conflict) == (10, 30, OnConflict.RENAME)


@pytest.mark.parametrize("raised", [ValueError("no"), asyncio.CancelledError("no")])
async def test_whatever_the_check_raises_refuses_and_the_job_has_not_finished(raised):
    async def check(job, files):
        raise raised

    job = Job(uuid4(), Kind.UPLOAD, owner="alice")
    with pytest.raises(Refused):
        await approve_and_finish(job, [], check)
    assert job.state is State.RUNNING


async def test_approval_passes_the_point_of_no_return():
    seen = []

    async def check(job, files):
        seen.append((job.state, files))

    job = Job(uuid4(), Kind.UPLOAD, owner="alice")
    await approve_and_finish(job, ["file"], check)
    assert seen == [(State.RUNNING, ("file",))]
    assert job.state is State.FINISHING


def test_only_the_three_answers_to_a_taken_name_are_understood():
    assert [parse_on_conflict(text) for text in ("reject", "rename", "replace")] == list(OnConflict)
    with pytest.raises(InvalidOption):
        parse_on_conflict("overwrite")
