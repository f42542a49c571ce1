"""Names that look like something else, and names that are none: taken as they are, or refused; never changed."""

import pytest
from yarl import URL

from raw import ask, request
from support import BOUNDARY, END, FORM, form, part, serving


async def call(server, method, path, **options):
    """A request whose path is sent as it is."""
    url = URL(server.url + path, encoded=True)
    async with server.client.request(method, url, **options) as response:
        return response.status, await response.read()


@pytest.fixture(params=["", "/mounted/here"])
async def server(root, request):
    async with serving(root, prefix=request.param) as server:
        yield server


def quoted(name):
    return "".join(f"%{byte:02x}" for byte in name.encode())


@pytest.mark.parametrize("name", ["{", "}", "a{b}c", "{name}", "a}{b", "{}"])
async def test_a_name_with_braces_is_a_name(server, name):
    """Put, told, given, listed and removed as any other."""
    path = f"/files/{quoted(name)}"
    assert (await call(server, "PUT", path, data=b"12345"))[0] == 201
    assert server.published() == {name: b"12345"}
    assert await call(server, "GET", path) == (200, b"12345")
    assert (await call(server, "HEAD", path))[0] == 200
    assert (await call(server, "DELETE", path))[0] == 204
    assert server.published() == {}


@pytest.mark.parametrize("name", ["{a}", "a{b"])
async def test_braces_may_come_as_they_are(server, name):
    """Though a URL should not have them."""
    reply = await ask(server.url, request("PUT", f"{server.path}/files/{name}", b"12345"))
    assert reply.status == 201
    reply = await ask(server.url, request("GET", f"{server.path}/files/{name}"))
    assert (reply.status, reply.body) == (200, b"12345")


NO_TEXT = ["%ff%fe", "a%FFb", "%c3", "%ED%A0%80", "%C0%AFx", "%F4%90%80%80"]


@pytest.mark.parametrize("name", NO_TEXT)
@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD", "DELETE"])
async def test_a_path_that_is_no_text_is_no_name(server, root, method, name):
    """422, and not a file of some other name: neither of the escapes, nor of what stands for them."""
    for other in (name, name.lower(), name.upper(), "\ufffd", "\ufffd" * 2, "a\ufffdb"):
        (root / other).write_bytes(b"other")
    before = server.published()
    status, body = await call(server, method, f"/files/{name}", **({"data": b"new"} if method == "PUT" else {}))
    assert status == 422
    assert method == "HEAD" or b"invalid-name" in body
    assert server.published() == before


@pytest.mark.parametrize("name", NO_TEXT)
async def test_a_query_that_is_no_text_is_no_name(server, name):
    """Of an upload, and of a place in a list."""
    headers = {"Upload-Complete": "?1"}
    status, body = await call(server, "POST", f"/upload?filename={name}", data=b"new", headers=headers)
    assert (status, b"invalid-name" in body) == (422, True)
    status, body = await call(server, "GET", f"/files?after={name}")
    assert (status, b"invalid-name" in body) == (422, True)
    status, body = await call(server, "GET", f"/files?sort=size&after=1:{name}")
    assert (status, b"invalid-name" in body) == (422, True)
    assert server.published() == {}


# Parts of forms.


@pytest.mark.parametrize(
    "kind",
    [
        'multipart/related; type="text/html"; boundary="----MultipartBoundary--abc----"',
        "multipart/related",
        "multipart/mixed; boundary=inner",
        f"multipart/form-data; boundary={BOUNDARY}x",
        "Multipart/Alternative; boundary=inner",
    ],
)
async def test_a_file_is_bytes_whatever_its_type(server, kind):
    """What is in it is not looked into, and the file after it is whole, too."""
    data = b"--inner\r\nContent-Type: text/html\r\n\r\n<p>\r\n--inner--\r\n"
    body = form(
        part("page.mhtml", data, headers=f"Content-Type: {kind}\r\n"),
        part("after", b"12345"),
    )
    status, answer = await call(server, "POST", "/upload", data=body, headers=FORM)
    assert status == 201, answer
    assert server.published() == {"page.mhtml": data, "after": b"12345"}


@pytest.mark.parametrize(
    "disposition",
    ['attachment; filename="x"', 'attachment; name="file"; filename="x"', 'file; filename="x"', 'inline; filename="x"'],
)
async def test_a_part_with_a_name_is_taken_or_the_reason_is_true(server, disposition):
    """The file is published, and every answer says so."""
    body = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n12345\r\n".encode() + END
    status, answer = await call(server, "POST", "/upload", data=body, headers=FORM)
    if status != 201:
        assert 400 <= status < 500
        assert b"form-data" in answer or b"Content-Disposition" in answer
        assert b"no name" not in answer
    assert server.published() == ({"x": b"12345"} if status == 201 else {})
