"""tus-js-client, unmodified, whose upload its owner ends: it is told so in words that it takes as final (G1).

It tries 409, 423 and 5xx again: it asks for the offset, and, when that is 404 or 410, creates the upload anew.
"""

import asyncio
import json
import os

import pytest

from e2e.conftest import curl, running
from e2e.npm import install, node
from proxy import breaking
from support import PATIENCE

SIZE = 4_000_000
#: Far from enough for the upload to be over before it is ended.
RATE = "400KB"

WAYS = {
    "one-patch": {},
    "chunks": {"chunkSize": 1_000_000},
    "creation": {"uploadDataDuringCreation": True},
    "parallel": {"parallelUploads": 4},
}


@pytest.fixture(scope="module")
def clients(pytestconfig):
    """Where node finds the clients."""
    return install(pytestconfig.cache.mkdir("npm"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


async def by_job(server, job):
    return await curl("-X", "DELETE", f"{server.url}/jobs/{job}")


async def by_all(server, job):
    return await curl("-X", "DELETE", f"{server.url}/upload/terminate")


async def by_tus(server, job):
    return await curl("-X", "DELETE", "-H", "Tus-Resumable: 1.0.0", f"{server.url}/tus/{job}")


async def jobs(server):
    return json.loads((await curl(f"{server.url}/jobs")).body)["jobs"]


async def receiving(server, least):
    """The id of an upload of which something has arrived, when that many have begun."""
    while True:
        began = await jobs(server)
        assert {job["state"] for job in began} <= {"running", "interrupted"}
        if len(began) >= least and (of := [job["id"] for job in began if job["bytes_done"]]):
            return of[0]


#: Parallel parts of one upload take their time: two of these.
ENDS = [
    *(("tus4", end, way) for end in (by_job, by_all, by_tus) for way in WAYS if way != "parallel" or end is by_all),
    *(("tus5", by_job, way) for way in WAYS),
]


@pytest.mark.parametrize(("package", "end", "way"), ENDS)
async def test_an_ended_upload_is_not_begun_anew(root, source, clients, package, way, end):
    """The client fails, and says why; it has created nothing a second time, and nothing is published or left."""
    parts = WAYS[way].get("parallelUploads", 1)
    async with running(root, "--total-rate", RATE) as server, breaking(server.url) as proxy:
        options = {"endpoint": f"{proxy.url}/tus/", "metadata": {"filename": "whole.bin"}} | WAYS[way]
        async with node(
            clients, "tus.mjs", package=package, path=str(source), kind="buffer", options=options
        ) as upload:
            async with asyncio.timeout(PATIENCE):
                job = await receiving(server, parts)
            assert (await end(server, job)).status in (200, 204)
            assert "410" in await upload.failed()
        assert proxy.asked["POST"] == parts
        ended = {job["id"]: job["state"] for job in await jobs(server)}
        assert len(ended) == parts
        assert ended[job] == "terminated"
        assert "completed" not in ended.values()
        assert [path for path in root.rglob("*") if path.suffix == ".bin"] == []
