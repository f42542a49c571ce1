"""One place says what every export carries."""

import pytest

from headgate.web.exports.export_headers import EXPORT_HEADERS
from support import serving


async def rows():
    yield b"a,b\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "own"),
    [
        ("GET", "/files/f", None, {}, {}),
        ("GET", "/files/f", None, {"Range": "bytes=1-2"}, {}),
        ("GET", "/files/f", None, {"Range": "bytes=0-0,2-2"}, {"Content-Type"}),
        ("HEAD", "/files/f", None, {}, {}),
        ("GET", "/files/rows", None, {}, {}),
        ("HEAD", "/files/rows", None, {}, {}),
        ("POST", "/export", {"filename": "f"}, {}, {}),
        ("POST", "/export", {"filename": "rows"}, {}, {}),
        ("POST", "/export", {"filenames": ["f", "f2"]}, {}, {"Content-Type"}),
    ],
    ids=["get", "range", "ranges", "head", "get-rows", "head-rows", "export", "export-rows", "zip"],
)
async def test_every_export_carries_the_headers_of_all(root, method, path, body, headers, own):
    """Stored, in ranges, generated, zipped and HEAD alike; what has a type of its own says that instead."""
    async with serving(root, exports={"rows": rows}) as server:
        for name in ("f", "f2"):
            (root / name).write_bytes(b"xyz")
        async with server.client.request(method, server.url + path, json=body, headers=headers) as response:
            assert response.status in (200, 206)
            expected = {name: value for name, value in EXPORT_HEADERS.items() if name not in own}
            assert {name: response.headers[name] for name in expected} == expected
            assert response.headers["Content-Disposition"].startswith("attachment")
            assert all(response.headers[name] != EXPORT_HEADERS[name] for name in own)
