"""The command line's large uploads: whatever happens on the way, they go on where the bytes are."""

import asyncio
import os
import signal

import pytest

from e2e.client.test_client import MIB, live, one_live, run, started
from e2e.conftest import running
from support import PATIENCE


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(MIB) * 24)
    return path


SLOW = ("--total-rate", "8MiB", "--drain-timeout", "0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restarted_server_is_waited_for(root, big, number):
    """However it went down; no byte that it had is sent again."""
    async with running(root, *SLOW) as first, started(first, "upload", str(big)) as process:
        job = await one_live(first)
        await first.stop(number)
        async with running(root, "--port", first.url.rpartition(":")[2]) as second:
            _, err = await asyncio.wait_for(process.communicate(), 3 * PATIENCE)
            assert (process.returncode, "trying again" in err.decode()) == (0, True)
            assert second.files() == ["big.bin"]
            assert await live(second) == []
        went_on = int(err.decode().partition("continuing after ")[2].partition(" ")[0])
        assert went_on >= job["bytes_done"]
    assert (root / "big.bin").read_bytes() == big.read_bytes()


@pytest.mark.parametrize("changed", [False, True])
async def test_a_killed_upload_goes_on_when_it_is_begun_again(root, big, changed):
    """As the same job; unless the file is another one by then."""
    async with running(root, *SLOW) as served:
        async with started(served, "upload", str(big)) as process:
            before = await one_live(served)
            process.kill()
            await process.wait()
        if changed:
            big.write_bytes(os.urandom(MIB) * 24)
        code, out, err = await run(served, "upload", "--json", str(big))
        assert code == 0, err
        assert (before["id"] in out) is not changed
        assert (root / "big.bin").read_bytes() == big.read_bytes()
        assert [job["id"] for job in await live(served)] == ([before["id"]] if changed else [])


async def test_what_was_terminated_begins_anew(root, big):
    """Ctrl-C ends it for good, and so does anybody else."""
    async with running(root, *SLOW) as served:
        for who in ("us", "others"):
            async with started(served, "upload", str(big)) as process:
                job = await one_live(served)
                if who == "us":
                    process.send_signal(signal.SIGINT)
                else:
                    assert (await run(served, "terminate", job["id"]))[0] == 0
                await asyncio.wait_for(process.communicate(), PATIENCE)
            assert process.returncode == (130 if who == "us" else 4)
            assert served.files() == []
        code, out, _ = await run(served, "upload", str(big))
        assert (code, out) == (0, "big.bin uploaded, 24.0 MiB\n")
        code, _, err = await run(served, "upload", str(big))
        assert (code, "name-taken" in err) == (1, True)
