"""What a transfer held is free when it has ended: nothing waits for the garbage collector (G4, G7)."""

import gc
import random
import weakref
from uuid import uuid4

import pytest

from faults.clients import ABORTS, EXPORT, abort
from headgate import User
from support import FORM, HeldUpload, eventually, file_form, part, serving


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def completes(server):
    async with server.client.post(f"{server.url}/upload", data=file_form("a", b"x"), headers=FORM) as response:
        assert response.status == 201


async def is_exported(server):
    async with server.client.post(f"{server.url}/export", json={"filename": "taken"}) as response:
        assert await response.read() == b"taken"


async def is_refused(server):
    async with server.client.post(f"{server.url}/upload", data=file_form("taken", b"x"), headers=FORM) as response:
        assert response.status == 409


async def is_terminated(server):
    id_ = uuid4()
    upload = HeldUpload(server, {"Job-Id": str(id_)})
    upload.send(part("a", b"x" * 100_000)[:-2])
    await upload.began(100_000)
    async with server.client.delete(f"{server.url}/jobs/{id_}") as response:
        assert response.status == 200
    assert (await upload.response)[0] == 409


def misbehaves(kind):
    async def misbehave(server):
        await abort(server.port, kind, random.Random(1))

    return misbehave


ENDS = {end.__name__: end for end in (completes, is_exported, is_refused, is_terminated)} | {
    kind: misbehaves(kind) for kind in ABORTS
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("end", ENDS)
async def test_a_request_is_free_when_its_transfer_has_ended(root, regime, end):
    """No circle of references keeps it, and what it holds, until there is time to collect."""
    requests = []

    def remember(request):
        requests.append(weakref.ref(request))
        return User("anonymous")

    config = {"watch_interval": 0.02, "linger_timeout": 0.2, "idle_timeout": 1.0}
    async with serving(root, handler_cancellation=regime, config=config, authenticate=remember) as server:
        (root / "taken").write_bytes(b"taken")
        (root / EXPORT).write_bytes(bytes(8_000_000))
        await ENDS[end](server)
        await server.client.close()
        await eventually(lambda: not server.jobs.live(), "the end of the job")
        await eventually(lambda: not any(request() for request in requests), "the request's own end")
