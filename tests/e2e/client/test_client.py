"""The command line against a real server: in a pipe, on a terminal, and when it is interrupted."""

import asyncio
import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from contextlib import asynccontextmanager

import pytest

from e2e.conftest import curl, running
from headgate.web.middleware.tokens import new_token
from support import PATIENCE, eventually

MIB = 1024 * 1024
HEADGATE = (sys.executable, "-m", "headgate")


@pytest.fixture
async def served(root):
    """A server that is slow enough to be interrupted: 8 MiB a second."""
    async with running(root, "--total-rate", "8MiB") as server:
        yield server
        server.kill()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(MIB) * 100)
    return path


def environment(served, **more):
    state = str(served.root.with_name("state"))
    return {**os.environ, "HEADGATE_URL": served.url, "COLUMNS": "120", "XDG_STATE_HOME": state, **more}


@asynccontextmanager
async def started(served, *arguments, cwd=None, stdin=None, **more):
    process = await asyncio.create_subprocess_exec(
        *(*HEADGATE, *arguments),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(served, **more),
        cwd=cwd,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(served, *arguments, **options):
    """Its exit code, and what it said on both streams."""
    async with started(served, *arguments, **options) as process:
        out, err = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
        assert b"Traceback" not in err, err.decode()
        return process.returncode, out.decode(), err.decode()


async def live(served):
    jobs = json.loads((await curl(f"{served.url}/jobs")).body)["jobs"]
    return [job for job in jobs if job["ended_at"] is None]


async def one_live(served):
    """The job that runs, once some of its bytes have moved."""
    for _ in range(500):
        jobs = await live(served)
        if jobs and jobs[0]["bytes_done"]:
            return jobs[0]
        await asyncio.sleep(0.02)
    raise AssertionError("no job began")


@asynccontextmanager
async def uploading(served, big, name="big.bin"):
    """A curl that uploads, slowly, and the job that it is."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "-F", f"file=@{big};filename={name}", f"{served.url}/upload"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield await one_live(served)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_round_trip(served, tmp_path):
    """Up, listed, down again whole, deleted: plain lines in a pipe."""
    (tmp_path / "a b.txt").write_bytes(b"some bytes")
    (tmp_path / 'ü".txt').write_bytes(b"")
    code, out, err = await run(served, "upload", "a b.txt", 'ü".txt', cwd=tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["a b.txt uploaded, 10 B", 'ü".txt uploaded, 0 B']
    assert (await run(served, "files", "--sort", "-size"))[0] == 0
    code, out, _ = await run(served, "files")
    assert [line.split("\t")[:2] for line in out.splitlines()] == [["a b.txt", "10"], ['ü".txt', "0"]]
    code, out, _ = await run(served, "export", "a b.txt", "-o", "copy", cwd=tmp_path)
    assert (code, out) == (0, "copy written, 10 B\n")
    assert (tmp_path / "copy").read_bytes() == b"some bytes"
    code, out, _ = await run(served, "export", "a b.txt", "-o", "-")
    assert (code, out) == (0, "some bytes")
    code, out, _ = await run(served, "delete", "a b.txt", 'ü".txt')
    assert (code, out) == (0, 'a b.txt deleted\nü".txt deleted\n')
    assert served.files() == []


async def test_as_json_every_line_is_an_object(served, tmp_path):
    """For other programs: what was done, what there is, and what went wrong."""
    (tmp_path / "a").write_bytes(b"x")
    for arguments in (
        ["upload", "a"],
        ["files"],
        ["jobs"],
        ["export", "a", "-o", "b"],
        ["delete", "a"],
        ["delete", "a"],
    ):
        _, out, _ = await run(served, *arguments, "--json", cwd=tmp_path)
        said = [json.loads(line) for line in out.splitlines()]
        assert len(said) == 1, arguments
    assert said[0]["code"] == "no-such-file"


async def test_a_partial_export_never_has_the_files_name(served, big, tmp_path):
    """Terminated half-way by a user: exit code 4, the name of that user, and nothing left in the directory."""
    os.link(big, served.root / "stored.bin")
    into = tmp_path / "into"
    into.mkdir()
    async with started(served, "export", "stored.bin", cwd=into) as process:
        job = await one_live(served)
        assert not (into / "stored.bin").exists()
        code, out, _ = await run(served, "terminate", job["id"][:8])
        assert (code, out) == (0, f"{job['id'][:8]} terminated\n")
        _, err = await process.communicate()
    assert process.returncode == 4
    assert b"terminated by anonymous" in err
    assert list(into.iterdir()) == []


async def test_a_file_that_is_there_is_not_replaced_unless_one_says_so(served, tmp_path):
    (served.root / "a").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    code, _, err = await run(served, "export", "a", cwd=tmp_path)
    assert code == 1
    assert "--force" in err
    assert (tmp_path / "a").read_bytes() == b"old"
    code, _, _ = await run(served, "export", "a", "--force", cwd=tmp_path)
    assert (code, (tmp_path / "a").read_bytes()) == (0, b"new")
    assert (tmp_path / "a").stat().st_mode & 0o044 == 0o044  # as any new file: not only for us


async def test_a_device_or_a_pipe_is_written_to(served, tmp_path):
    """It has no name to take, and stays what it is."""
    (served.root / "a").write_bytes(b"some bytes")
    os.mkfifo(tmp_path / "pipe")
    reading = asyncio.create_task(asyncio.to_thread((tmp_path / "pipe").read_bytes))
    assert (await run(served, "export", "a", "-o", str(tmp_path / "pipe")))[0] == 0
    assert await reading == b"some bytes"
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["upload", "export"])
async def test_an_interruption_terminates_the_job_on_the_server_and_says_so(served, big, tmp_path, kind, number):
    """Not merely a connection that is gone: the server knows who ended it, and nothing is left on either side."""
    if kind == "export":
        os.link(big, served.root / "stored.bin")
    into = tmp_path / "into"
    into.mkdir()
    arguments = ["upload", str(big)] if kind == "upload" else ["export", "stored.bin"]
    async with started(served, *arguments, cwd=into) as process:
        job = await one_live(served)
        process.send_signal(number)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 128 + number
    assert f"job {job['id']} is terminated on the server" in err.decode()
    ended = json.loads((await curl(f"{served.url}/jobs/{job['id']}")).body)
    assert (ended["state"], ended["ended_by"]) == ("terminated", "anonymous")
    assert list(into.iterdir()) == []
    assert served.files() == (["stored.bin"] if kind == "export" else [])


async def test_transfers_are_held_slowed_and_let_go_from_a_shell(served, big):
    """By the beginning of an id, or all of one's own."""
    async with uploading(served, big) as job:
        id_ = job["id"][:8]
        for arguments, said, seen in (
            (["pause", id_], "paused", {"state": "paused"}),
            (["resume", "--all"], "resumed", {"state": "running"}),
            (["rate", id_, "2MB"], "slowed to 1.9 MiB/s", {"limit": 2_000_000}),
            (["rate", id_, "none"], "has no limit any more", {"limit": None}),
            (["pause", "--all"], "paused", {"state": "paused"}),
        ):
            code, out, _ = await run(served, *arguments)
            assert (code, out) == (0, f"{id_} {said}\n")
            (now,) = await live(served)
            assert seen.items() <= now.items()
        code, out, _ = await run(served, "jobs")
        assert re.fullmatch(rf"{id_}  upload  big.bin  paused  \d+% of 100 MiB\n", out)
        code, out, _ = await run(served, "terminate", "--all")
        assert (code, out) == (0, f"{id_} terminated\n")
        assert await live(served) == []
    code, _, err = await run(served, "pause", id_)
    assert code == 1
    assert "already-finished" in err


async def test_all_is_all_of_ones_own(root, tmp_path, big):
    """For an admin, too, --all means the own jobs, not those of all users."""
    (alice, alices), (admin, admins) = new_token("alice"), new_token("root", admin=True)
    (tmp_path / "tokens").write_text(f"{alices}\n{admins}\n")
    async with running(root, "--tokens", str(tmp_path / "tokens"), "--total-rate", "8MiB") as served:
        async with started(served, "upload", str(big), HEADGATE_TOKEN=alice) as process:
            for _ in range(500):
                code, out, _ = await run(served, "jobs", "--json", HEADGATE_TOKEN=admin)
                if out:
                    break
            job = json.loads(out)
            assert job["owner"] == "alice"
            code, out, _ = await run(served, "terminate", "--all", HEADGATE_TOKEN=admin)
            assert (code, out) == (0, "")
            code, out, _ = await run(served, "terminate", job["id"], HEADGATE_TOKEN=admin)
            assert code == 0
            _, err = await process.communicate()
        assert process.returncode == 4
        assert b"terminated by root" in err
        code, _, err = await run(served, "jobs", HEADGATE_TOKEN="wrong")
        assert code == 1
        assert "unauthorized" in err


WRONG = [
    ["upload"],
    ["upload", "a", "b", "--name", "c"],
    ["pause"],
    ["pause", "x", "--all"],
    ["rate", "x", "fast"],
    ["rate", "x"],
    ["nothing"],
    ["upload", "a", "--on-conflict", "merge"],
    *(["jobs", "--url", url] for url in ("localhost:8080", "http://", "", "ftp://h/", "http://h:99999")),
    ["jobs", "--token", "two\nlines"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
async def test_a_wrong_command_line_is_told_and_does_nothing(served, arguments):
    code, out, err = await run(served, *arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


async def test_a_beginning_of_an_id_is_some_of_it(served, big):
    """An empty variable in a script ends no transfer."""
    async with uploading(served, big) as job:
        for id_ in ("", job["id"][:3]):
            code, out, err = await run(served, "terminate", id_)
            assert (code, out) == (1, "")
            assert "at least 4 characters" in err
        assert await live(served)


async def test_an_odd_name_keeps_no_other_file_from_being_uploaded(served, tmp_path):
    """It is refused here, in words, as it would be there."""
    (tmp_path / "odd\nname").write_bytes(b"")
    os.mknod(os.fsencode(tmp_path) + b"/bad\xff")
    (tmp_path / "good").write_bytes(b"x")
    code, out, err = await run(served, "upload", "odd\nname", b"bad\xff", "good", cwd=tmp_path)
    assert (code, out) == (1, "good uploaded, 1 B\n")
    assert "control characters" in err
    assert "valid UTF-8" in err


async def test_what_comes_out_of_a_pipe_is_uploaded(served):
    """However much it is: the size is not known beforehand."""
    async with started(served, "upload", "/dev/stdin", "--name", "piped", stdin=asyncio.subprocess.PIPE) as process:
        out, _ = await process.communicate(b"x" * 3_000_000)
    assert (process.returncode, out) == (0, b"piped uploaded, 2.9 MiB\n")
    assert (served.root / "piped").stat().st_size == 3_000_000


async def test_the_longest_names_are_exported_too(served, tmp_path):
    name = "語" * 84
    (served.root / name).write_bytes(b"x")
    assert (await run(served, "export", name, cwd=tmp_path))[0] == 0
    assert (tmp_path / name).read_bytes() == b"x"


async def test_a_pipe_that_nobody_reads_holds_no_interruption_up(served, big):
    """Not even while a thread waits to write into it."""
    os.link(big, served.root / "stored.bin")
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(*HEADGATE, "export", "stored.bin", "-o", "-"),
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
        env=environment(served),
    )
    try:
        await one_live(served)
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
        os.close(writing)
        os.close(reading)
    assert process.returncode == 143
    assert b"is terminated on the server" in err


async def test_a_server_that_is_not_there_has_an_exit_code_of_its_own(root, tmp_path, big):
    """Before, and in the middle."""
    async with running(root, "--total-rate", "8MiB") as served:
        os.link(big, root / "stored.bin")
        async with started(served, "export", "stored.bin", cwd=tmp_path) as process:
            await one_live(served)
            await served.stop(9)
            _, err = await process.communicate()
        assert process.returncode == 3
        assert b"cannot be reached" in err
        for arguments in (["jobs"], ["jobs", "--watch"], ["files"], ["upload", str(big)], ["export", "x"]):
            code, _, err = await run(served, *arguments, cwd=tmp_path)
            assert (code, "cannot be reached" in err) == (3, True), arguments


async def test_the_worst_of_several_is_the_exit_code_and_the_others_are_done(served, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / ".b").write_bytes(b"b")
    code, out, err = await run(served, "upload", "nothing", ".b", "a", cwd=tmp_path)
    assert (code, out) == (1, "a uploaded, 1 B\n")
    assert "No such file" in err
    assert "may not begin with a dot" in err
    code, out, _ = await run(served, "upload", "a", "--on-conflict", "rename", cwd=tmp_path)
    assert (code, out) == (0, "a (1) uploaded, 1 B\n")
    code, out, _ = await run(served, "upload", "a", "--name", "other", cwd=tmp_path)
    assert (code, out) == (0, "other uploaded, 1 B\n")


async def test_a_watch_in_a_pipe_is_a_line_for_every_change(served, big):
    """And it comes back by itself when the server does."""
    port = served.url.rpartition(":")[2]
    async with started(served, "jobs", "--watch", "--json", PYTHONUNBUFFERED="1") as watch:
        seen = []

        async def until(state):
            while not seen or seen[-1].get("state") != state:
                seen.append(json.loads(await asyncio.wait_for(watch.stdout.readline(), PATIENCE)))

        async with uploading(served, big) as job:
            await until("running")
            await run(served, "pause", job["id"])
            await until("paused")
            await run(served, "terminate", job["id"])
            await until("terminated")
        assert {each["id"] for each in seen} == {job["id"]}
        await served.stop(9)
        while "connection was lost" not in seen[-1].get("error", ""):
            seen.append(json.loads(await asyncio.wait_for(watch.stdout.readline(), PATIENCE)))
        async with running(served.root, "--port", port) as again:
            (again.root / "a").write_bytes(b"x")
            await run(again, "export", "a", "-o", "-")
            await until("completed")
        watch.send_signal(signal.SIGINT)
        await watch.communicate()
        assert watch.returncode == 130


class Terminal:
    """A command on a pseudo-terminal, and its screen as text."""

    def __init__(self, served, *arguments, cwd=None):
        self.arguments = arguments
        self.env = environment(served, TERM="xterm-256color")
        self.cwd = cwd
        self.text = ""

    async def __aenter__(self):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            *(*HEADGATE, *self.arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.env,
            cwd=self.cwd,
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self.master, False)
        asyncio.get_running_loop().add_reader(self.master, self._read)
        return self

    def _read(self):
        try:
            self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self.master, 65536).decode(errors="replace"))
        except OSError:  # it has ended
            asyncio.get_running_loop().remove_reader(self.master)

    async def __aexit__(self, *exc_info):
        asyncio.get_running_loop().remove_reader(self.master)
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        os.close(self.master)

    async def shows(self, pattern):
        await eventually(lambda: re.search(pattern, self.text), f"{pattern} on the screen {self.text!r}")

    def press(self, key):
        os.write(self.master, key)


async def test_on_a_terminal_an_upload_has_a_bar_that_tells_of_a_pause(served, big):
    """Bytes, rate, what is left; paused from elsewhere it says so; Ctrl-C terminates, and says so."""
    async with Terminal(served, "upload", str(big)) as terminal:
        await terminal.shows(r"big\.bin .*/\S+ MiB.*/s")
        job = await one_live(served)
        await run(served, "pause", job["id"])
        await terminal.shows(r"big\.bin \[paused\]")
        os.killpg(terminal.process.pid, signal.SIGINT)
        await terminal.shows(f"job {job['id']} is terminated on the server")
        assert await asyncio.wait_for(terminal.process.wait(), PATIENCE) == 130
    assert served.files() == []


async def test_on_a_terminal_an_export_has_a_bar_and_the_file_is_whole(served, tmp_path):
    data = os.urandom(12 * MIB)
    (served.root / "f.bin").write_bytes(data)
    async with Terminal(served, "export", "f.bin", cwd=tmp_path) as terminal:
        await terminal.shows(r"f\.bin written, 12\.0 MiB")
        assert await asyncio.wait_for(terminal.process.wait(), PATIENCE) == 0
        assert re.search(r"f\.bin .*/12\.6 MB|f\.bin .*/12\.0 MiB", terminal.text)
    assert hashlib.sha256((tmp_path / "f.bin").read_bytes()).digest() == hashlib.sha256(data).digest()


async def test_on_a_terminal_a_watch_is_a_table_that_moves(served, big):
    """Three transfers while they run; what becomes of them; Ctrl-C ends the watch alone."""
    os.link(big, served.root / "stored.bin")
    async with Terminal(served, "jobs", "--watch") as terminal:
        await terminal.shows("ID +KIND +OWNER +NAME +STATE +PROGRESS +RATE +LEFT")
        async with (
            uploading(served, big, "first.bin"),
            uploading(served, big, "second.bin"),
            started(served, "export", "stored.bin", "-o", "/dev/null"),
        ):
            for name in ("first.bin", "second.bin", "stored.bin"):
                await terminal.shows(rf"{name} +running +\d+% of 100 MiB +\S+ \S+/s")
            await run(served, "pause", "--all")
            await terminal.shows(r"second\.bin +paused")
            os.killpg(terminal.process.pid, signal.SIGINT)
            assert await asyncio.wait_for(terminal.process.wait(), PATIENCE) == 130
            assert len(await live(served)) == 3
