"""Sweeping: a file without a lock is removed, a locked one stays, however old."""

import asyncio
import fcntl
import os
import threading
from uuid import uuid4

import pytest

from headgate.config import OnConflict
from headgate.storage import LocalStorage
from headgate.storage.local.incoming import staged_file as staged
from headgate.storage.local.sweeper import sweep
from support import eventually

REJECT, REPLACE = OnConflict.REJECT, OnConflict.REPLACE


@pytest.fixture
def staging(root, storage):
    return root / ".staging"


def leave(directory, *names):
    for name in names:
        (directory / name).write_bytes(b"left behind")


LABEL = f"{uuid4()}.0123abcd.0"


async def test_what_a_killed_process_left_is_gone_when_the_next_has_started(root):
    """StagedFile files, kept replaced ones, waiting replacements, and the probe of a start."""
    (root / ".staging").mkdir(parents=True)
    leave(root / ".staging", LABEL, f"{LABEL}.old", f"{LABEL}.new", f"{uuid4()}.0123abcd.17.old", ".headgate-probe")
    leave(root, ".headgate-probe", "published")
    storage = LocalStorage(root)
    await storage.start()
    assert os.listdir(root / ".staging") == []
    assert sorted(os.listdir(root)) == [".staging", "published"]
    await storage.close()


async def test_two_servers_on_one_root_never_sweep_each_others(storage, staging, root):
    """A file that is being written stays, though the other starts, sweeps, and ends; then it is published whole."""
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", REJECT)
        await file.write(b"before ")
        os.utime(staging / file.label, (0, 0))
        other = LocalStorage(root)
        await other.start()
        await other.tidy()
        await other.close()
        await file.write(b"after")
        await stage.sync()
        await stage.publish(REJECT)
    assert (root / "a").read_bytes() == b"before after"


async def test_what_a_publication_keeps_lives_as_long_as_its_label(storage, staging):
    """A replaced file is kept beside the label of what replaces it, and that is locked."""
    async with storage.stage(uuid4(), "alice") as stage:
        file = await stage.create("a", REPLACE)
        kept = f"{file.label}.old"
        leave(staging, kept)
        await storage.tidy()
        assert sorted(os.listdir(staging)) == [file.label, kept]
    await storage.tidy()
    assert os.listdir(staging) == []


async def test_other_names_are_not_ours_to_remove(storage, staging):
    names = ["notes.txt", LABEL + ".a.b", LABEL[1:], "x" + LABEL]
    leave(staging, *names)
    (staging / "directory").mkdir()
    await storage.tidy()
    assert sorted(os.listdir(staging)) == sorted([*names, "directory"])


async def test_it_sweeps_every_few_minutes(root):
    storage = LocalStorage(root, sweep_interval=0.01)
    await storage.start()
    leave(root / ".staging", LABEL)
    await eventually(lambda: not os.listdir(root / ".staging"))
    await storage.close()


@pytest.mark.parametrize("moment", ["before the lock", "while it holds the lock"])
async def test_a_file_that_a_sweeper_finds_before_its_lock_is_made_again(storage, staging, root, monkeypatch, moment):
    """Between making a name and locking it, a sweeper may take it for dead. The writer notices."""
    real = fcntl.flock
    swept = []

    def flock(fd, operation):
        if not swept and threading.current_thread().name.startswith("headgate-names"):
            swept.append(os.listdir(staging))
            if moment == "before the lock":
                directory = os.open(staging, os.O_RDONLY)
                assert sweep(directory, 3600) == 1
                os.close(directory)
            else:
                path = staging / swept[0][0]
                other = os.open(path, os.O_RDONLY)
                real(other, fcntl.LOCK_EX)
                sweeper = threading.Thread(target=lambda: (path.unlink(), os.close(other)))
                sweeper.start()
                real(fd, operation)
                sweeper.join()
                return
        real(fd, operation)

    async with storage.stage(uuid4(), "alice") as stage:
        monkeypatch.setattr(staged.fcntl, "flock", flock)
        file = await stage.create("a", REJECT)
        monkeypatch.undo()
        assert len(swept[0]) == 1
        assert os.listdir(staging) == [file.label]
        await storage.tidy()
        await file.write(b"x")
        await stage.sync()
        await stage.publish(REJECT)
    assert (root / "a").read_bytes() == b"x"
    assert os.listdir(staging) == []


@pytest.mark.parametrize("suffix", [".0123abcd.0", ".kept"])
def test_a_sweeper_that_comes_late_leaves_the_file_that_was_made_again(tmp_path, monkeypatch, suffix):
    """It has opened a file that another sweeper removes; the file that then gets the name is another's, and stays."""
    label = f"{uuid4()}{suffix}"
    leave(tmp_path, label)
    made = []

    def late(fd):
        if not made:
            (tmp_path / label).unlink()
            made.append(staged.create_locked(label, directory))
        real(fd)

    real = staged.lock
    monkeypatch.setattr("headgate.storage.local.sweeper.lock", late)
    directory = os.open(tmp_path, os.O_RDONLY)
    assert sweep(directory, 0) == 0
    assert os.stat(tmp_path / label).st_ino == os.fstat(made[0]).st_ino
    os.close(made[0])
    assert sweep(directory, 0) == 1
    os.close(directory)


async def test_sweepers_and_writers_do_not_disturb_each_other(storage, staging, root):
    """Many files made while others sweep without end: each is published whole."""
    others = [LocalStorage(root) for _ in range(2)]
    for other in others:
        await other.start()
    done = asyncio.Event()

    async def sweeping(other):
        while not done.is_set():
            await other.tidy()

    async def writing(number):
        async with storage.stage(uuid4(), "alice") as stage:
            file = await stage.create(f"f{number}", REJECT)
            await file.write(b"%d" % number)
            await stage.sync()
            await stage.publish(REJECT)

    sweepers = [asyncio.create_task(sweeping(other)) for other in others]
    await asyncio.gather(*(writing(number) for number in range(200)))
    done.set()
    await asyncio.gather(*sweepers)
    for other in others:
        await other.close()
    assert {(root / f"f{number}").read_bytes() for number in range(200)} == {b"%d" % number for number in range(200)}
    assert os.listdir(staging) == []


async def test_a_sweep_that_fails_is_tried_again(root, monkeypatch, caplog):
    """The log says so, and the server goes on."""
    storage = LocalStorage(root, sweep_interval=0.01)
    await storage.start()
    calls = []

    def scandir(path):
        calls.append(path)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("headgate.storage.local.sweeper.os.scandir", scandir)
    await eventually(lambda: len(calls) >= 3)
    monkeypatch.undo()
    await storage.close()
    assert "cannot be swept" in caplog.text
