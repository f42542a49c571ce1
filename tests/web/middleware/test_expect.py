"""``Expect: 100-continue``, where it meets a client that no longer waits."""

import asyncio

import pytest

from faults.log import faults_logged
from headgate import User
from support import FORM, eventually, serving


@pytest.mark.parametrize(
    ("path", "type_"), [("/upload", FORM["Content-Type"]), ("/export", "application/json")], ids=["upload", "export"]
)
async def test_a_client_that_is_gone_before_it_may_go_on_is_a_disconnect(root, path, type_):
    """Nobody reads the 100 any more: no error is logged, and no job goes on."""
    faults: list[str] = []
    requests = []
    gone = asyncio.Event()

    async def authenticate(request):
        requests.append(request)
        await gone.wait()
        return User("alice")

    async with serving(root, authenticate=authenticate) as server:
        with faults_logged(faults):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {type_}\r\nContent-Length: 9\r\n"
            writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
            await eventually(lambda: requests, "the request")
            writer.transport.abort()
            await eventually(lambda: requests[0].transport is None, "the end of the connection")
            gone.set()
            await eventually(lambda: not server.runner.server.connections, "the end of the handler")
        assert [(job.state, job.reason) for job in server.infos()] in ([], [("failed", "disconnected")])
        assert server.staged() == []
    assert faults == []
