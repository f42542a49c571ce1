"""PUT of a file that the request itself calls a part: a part never takes the place of the whole."""

import pytest

from support import serving


@pytest.fixture
async def server(root, regime):
    async with serving(root, handler_cancellation=regime) as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        {"Upload-Complete": "?0", "Upload-Length": "100"},
        {"Upload-Complete": "?0"},
        {"Upload-Complete": "?0;a=1", "Upload-Draft-Interop-Version": "8"},
        {"Upload-Incomplete": "?1", "Upload-Draft-Interop-Version": "3"},
        {"Upload-Complete": "?1", "Upload-Length": "100"},
        {"Upload-Complete": "?0", "Upload-Length": "4"},
    ],
)
@pytest.mark.parametrize("there", [b"what was there", None])
async def test_a_part_is_not_published_as_the_whole(server, root, headers, there):
    """Refused, or kept until the rest has come; what has the name, or that nothing has, stays as it was."""
    if there is not None:
        (root / "report").write_bytes(there)
    async with server.client.put(server.url + "/files/report", data=b"part", headers=headers) as response:
        kept = response.status == 201 and response.headers.get("Upload-Complete") == "?0"
        assert kept or 400 <= response.status < 500, response.status
    assert server.published() == ({} if there is None else {"report": there})


async def test_a_refused_part_has_not_been_asked_for(server, root):
    """Who waits for 100 Continue has the refusal, and keeps the bytes."""
    headers = {"Upload-Complete": "?0", "Upload-Length": "100", "Expect": "100-continue"}
    asked = False

    async def body():
        nonlocal asked
        asked = True
        yield b"part"

    async with server.client.put(server.url + "/files/report", data=body(), headers=headers) as response:
        kept = response.status == 201 and response.headers.get("Upload-Complete") == "?0"
        assert kept or (400 <= response.status < 500 and not asked)
    assert server.published() == {}
