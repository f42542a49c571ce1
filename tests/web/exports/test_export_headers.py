"""One place says what every export carries."""

import pytest

from headgate.web.exports.range_selection import EXPORT_HEADERS
from support import serving


async def rows():
    yield b"a,b\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "type_"),
    [
        ("GET", "/files/f", None, None),
        ("HEAD", "/files/f", None, None),
        ("POST", "/export", {"filename": "rows"}, None),
        ("POST", "/export", {"filenames": ["f", "f2"]}, "application/zip"),
    ],
    ids=["stored", "head", "generated", "zip"],
)
async def test_every_export_carries_the_headers_of_all(root, method, path, body, type_):
    """Stored, generated, zipped and HEAD alike; a zip says its own type."""
    async with serving(root, exports={"rows": rows}) as server:
        for name in ("f", "f2"):
            (root / name).write_bytes(b"x")
        async with server.client.request(method, server.url + path, json=body) as response:
            assert response.status == 200
            expected = EXPORT_HEADERS | ({} if type_ is None else {"Content-Type": type_})
            assert {name: response.headers[name] for name in expected} == expected
