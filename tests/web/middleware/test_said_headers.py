"""Header fields that the protocols ask of an answer, and fields that come on several lines."""

import hashlib
import json
import re
from base64 import b64encode
from pathlib import Path

import pytest
from multidict import CIMultiDict

import tus
from support import serving

DOCS = Path(__file__).parents[3] / "docs"
DATA = b"0123456789"


async def rows():
    yield b"row\n"


@pytest.fixture
async def server(root):
    async with serving(root, exports={"rows": rows}) as server:
        (root / "f").write_bytes(DATA)
        (root / "empty").write_bytes(b"")
        yield server


async def call(server, method, path, *headers, **options):
    where = path if "://" in path else server.url + path
    async with server.client.request(
        method, where, headers=CIMultiDict(headers), skip_auto_headers=["Content-Type"], **options
    ) as response:
        return response.status, response.headers, await response.read()


def words(value):
    return {word.strip() for word in value.split(",")}


ID = "5b3a92ef-71ee-4215-bb19-86e2eb692532"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/tus/", {"OPTIONS", "POST"}),
        (f"/tus/{ID}", {"OPTIONS", "HEAD", "PATCH", "DELETE"}),
        ("/upload", {"OPTIONS", "POST"}),
        (f"/uploads/{ID}", {"OPTIONS", "HEAD", "GET", "PATCH", "DELETE"}),
    ],
)
async def test_options_tells_what_may_be_asked(server, path, methods):
    """In Allow (RFC 9110, 9.3.7); what can be patched tells with what (RFC 5789, 3.1), and tus its version."""
    status, headers, _ = await call(server, "OPTIONS", path)
    assert status in (200, 204)
    assert methods <= words(headers["Allow"])
    assert ("Accept-Patch" in headers) == ("PATCH" in methods)
    if path.startswith("/tus"):
        assert headers["Tus-Resumable"] == "1.0.0"


async def test_a_patch_of_the_wrong_kind_is_told_the_right_one(server):
    """In Accept-Patch (RFC 5789, 2.2)."""
    url = await tus.create(server, 5)
    answer = await tus.patch(server, url, 0, b"12345", Content_Type="text/plain")
    assert (answer.status, answer["Accept-Patch"]) == (415, "application/offset+octet-stream")
    job = f"/jobs/{tus.job_id(url)}"
    status, headers, _ = await call(server, "PATCH", job, ("Content-Type", "text/plain"), data=b"{}")
    assert status == 415
    assert "application/json" in words(headers["Accept-Patch"])
    _, headers, _ = await call(server, "POST", "/upload", ("Upload-Complete", "?0"))
    more = ("Upload-Complete", "?1"), ("Upload-Offset", "0"), ("Content-Type", "text/plain")
    status, headers, _ = await call(server, "PATCH", headers["Location"], *more, data=b"12345")
    assert (status, headers["Accept-Patch"]) == (415, "application/partial-upload")


def digest(algorithm):
    name = algorithm.replace("-", "")
    return f"{algorithm}=:{b64encode(hashlib.new(name, DATA).digest()).decode()}:"


async def test_head_tells_the_digest_that_get_would_tell(server):
    for method in ("GET", "HEAD"):
        status, headers, _ = await call(server, method, "/files/f", ("Want-Repr-Digest", "sha-256=5"))
        assert (status, headers.get("Repr-Digest")) == (200, digest("sha-256"))


@pytest.mark.parametrize(("method", "path"), [("GET", "/files/f"), ("HEAD", "/files/f"), ("PUT", "/files/g")])
async def test_a_wish_may_be_on_any_line(server, method, path):
    """The lines of a dictionary are one (RFC 9651, 3.2)."""
    wishes = ("Want-Repr-Digest", "sha-256=1"), ("Want-Repr-Digest", "sha-512=9")
    _, headers, body = await call(server, method, path, *wishes, **({"data": DATA} if method == "PUT" else {}))
    told = json.loads(body)["files"][0]["repr_digest"] if method == "PUT" else headers.get("Repr-Digest")
    assert told == digest("sha-512")


@pytest.mark.parametrize("range_", ["bytes=-5", "bytes=-1", "bytes=-5,-6"])
async def test_the_last_bytes_of_an_empty_file_are_all_of_it(server, range_):
    """A suffix that is longer than the whole is the whole (RFC 9110, 14.1.2)."""
    status, headers, body = await call(server, "GET", "/files/empty", ("Range", range_))
    assert (status, body, headers["Content-Length"]) == (200, b"", "0")
    async with server.client.post(
        server.url + "/export", json={"filename": "empty"}, headers={"Range": range_}
    ) as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_metadata_may_be_on_several_lines(server):
    """All of them count, and all of them are told again."""
    words_ = [f"kind {b64encode(b'a').decode()}", tus.named("n")["Upload-Metadata"]]
    lines = [("Upload-Metadata", word) for word in words_]
    version = ("Tus-Resumable", "1.0.0")
    status, headers, _ = await call(server, "POST", "/tus/", version, ("Upload-Length", "5"), *lines)
    assert status == 201
    url = headers["Location"]
    _, headers, _ = await call(server, "HEAD", url, version)
    assert words(headers["Upload-Metadata"]) == set(words_)
    assert (await tus.patch(server, url, 0, b"12345")).status == 204
    assert server.published()["n"] == b"12345"


@pytest.mark.parametrize("second", ["?0", "?1"])
async def test_a_field_of_one_item_on_two_lines_is_none(server, second):
    """It does not parse (RFC 9651, 4.2), and is as if it were not there: nothing is taken for complete."""
    twice = ("Upload-Complete", "?1"), ("Upload-Complete", second)
    status, _, _ = await call(server, "POST", "/upload?filename=new", *twice, data=b"12345")
    assert 400 <= status < 500
    _, headers, _ = await call(server, "POST", "/upload?filename=new", ("Upload-Complete", "?0"))
    url = headers["Location"]
    patch = ("Content-Type", "application/partial-upload"), ("Upload-Offset", "0")
    status, _, _ = await call(server, "PATCH", url, *patch, *twice, data=b"12345")
    assert status == 400
    offsets = *patch, ("Upload-Offset", "0"), ("Upload-Complete", "?1")
    status, _, _ = await call(server, "PATCH", url, *offsets, data=b"12345")
    assert status == 400
    assert "new" not in server.published()


@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Length", "Upload-Checksum"])
async def test_what_tus_says_once_is_said_once(server, field):
    """Two different ones contradict each other: refused, and nothing is kept."""
    version = ("Tus-Resumable", "1.0.0")
    if field == "Upload-Length":
        status, _, _ = await call(server, "POST", "/tus/", version, (field, "5"), (field, "6"))
        assert status == 400
        return
    url = await tus.create(server, 5)
    patch = [version, ("Content-Type", "application/offset+octet-stream"), ("Upload-Offset", "0")]
    sums = [f"sha1 {b64encode(hashlib.sha1(data).digest()).decode()}" for data in (b"12345", b"other")]
    patch += [(field, "3")] if field == "Upload-Offset" else [(field, text) for text in sums]
    status, _, _ = await call(server, "PATCH", url, *patch, data=b"12345")
    assert status in (400, 460)
    assert await tus.offset(server, url) == 0


@pytest.mark.parametrize("text", ["sha1 AAAA", "md5 AAAA", f"sha256 {'A' * 28}", f"sha1 {'A' * 44}"])
async def test_a_checksum_that_no_content_has_is_a_mismatch(server, text):
    """Well-formed, and not that of what came: 460, and nothing is kept."""
    url = await tus.create(server, 5)
    answer = await tus.patch(server, url, 0, b"12345", Upload_Checksum=text)
    assert answer.status == 460
    assert await tus.offset(server, url) == 0


async def test_who_is_at_the_wrong_place_is_told_the_right_one(server):
    """409 says where the upload is."""
    url = await tus.create(server, 5)
    assert (await tus.patch(server, url, 0, b"123")).status == 204
    for wrong in (0, 2, 4):
        answer = await tus.patch(server, url, wrong, b"4")
        assert (answer.status, answer["Upload-Offset"]) == (409, "3")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/files/f", None),
        ("GET", "/files/rows", None),
        ("POST", "/export", {"filename": "f"}),
        ("POST", "/export", {"filenames": ["f", "empty"]}),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-2,4-5"}])
async def test_a_proxy_is_asked_to_buffer_no_export(server, method, path, body, headers):
    """Or what is paused and terminated here would have gone out long ago."""
    async with server.client.request(method, server.url + path, json=body, headers=headers) as response:
        assert response.headers.get("X-Accel-Buffering") == "no"


@pytest.mark.parametrize("directive", ["proxy_read_timeout", "proxy_send_timeout"])
def test_the_documented_proxy_waits_for_as_long_as_a_pause_may_last(directive):
    """Hours."""
    text = (DOCS / "operations.md").read_text()
    found = re.findall(rf"\b{directive} (\d+)([smhd]?)", text)
    assert found
    assert all(int(number) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit] >= 3600 for number, unit in found)
