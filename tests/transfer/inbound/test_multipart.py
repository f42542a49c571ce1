"""Forms, replayed whole, byte by byte, and split at every boundary."""

import asyncio
import contextlib
from unittest import mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate import Config
from headgate.errors import ClientError, MalformedBody, TooLarge, UnsupportedMedia
from headgate.transfer.inbound.multipart import FormSource
from support import BOUNDARY, END, FORM, form, part

SMALL = Config(max_files=3, max_fields=2, max_field_size=20, max_form_size=2000, max_file_size=5000)


async def parse(pieces, *, config=SMALL, headers=FORM):
    """Read a form that arrives in `pieces`: [(name, content), ...] and its fields."""
    protocol = BaseProtocol(asyncio.get_running_loop(), mock.Mock())
    protocol.transport = mock.Mock()
    stream = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    request = make_mocked_request("POST", "/upload", headers=headers, payload=stream)
    form = FormSource(request, config, max_files=config.max_files)

    async def feed():
        for piece in pieces:
            stream.feed_data(piece)
            await asyncio.sleep(0)
        stream.feed_eof()

    feeding = asyncio.create_task(feed())
    try:
        files = []
        async for file in form.files():
            content = b""
            while chunk := await file.read():
                content += chunk
            files.append((file.filename, content))
    finally:
        await feeding
    return files, form.fields


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


#: Contents that look like what ends them.
CONTENTS = {
    "empty": b"",
    "plain": b"hello",
    "breaks": b"\r\n\r\n\r\n",
    "only cr": b"\r\r\r",
    "ends with cr": b"abc\r",
    "ends with crlf": b"abc\r\n",
    "ends with crlf dash": b"abc\r\n-",
    "ends almost with a delimiter": b"abc\r\n--" + BOUNDARY[:-1].encode(),
    "a boundary inside a line": b"abc--" + BOUNDARY.encode() + b"--",
    "a boundary after lf": b"abc\n--" + BOUNDARY.encode(),
    "delimiters cut short": (b"\r\n--" + BOUNDARY[:5].encode()) * 3,
    "cr before the delimiter": b"\r\n\r",
    "binary": bytes(range(256)),
}

#: Whole bodies and what they carry.
BODIES = {
    "one file": (form(part("a.txt", b"hello")), [("a.txt", b"hello")], {}),
    "one empty file": (form(part("a.txt", b"")), [("a.txt", b"")], {}),
    "files and fields": (
        form(part(None, b"v", name="f"), part("a", b"1\r\n"), part(None, b"w", name="g"), part("b", b"2")),
        [("a", b"1\r\n"), ("b", b"2")],
        {"f": "v", "g": "w"},
    ),
    "no part": (END, [], {}),
    "preamble and epilogue": (
        b"This is a form.\r\n" + form(part("a", b"x")) + b"That was a form.\r\n--" + BOUNDARY.encode() + b"\r\nno part",
        [("a", b"x")],
        {},
    ),
    "no line break at the very end": (form(part("a", b"x"))[:-2], [("a", b"x")], {}),
    "padded boundaries": (
        form(part("a", b"x")).replace(BOUNDARY.encode() + b"\r\n", BOUNDARY.encode() + b" \t\r\n"),
        [("a", b"x")],
        {},
    ),
    "a file input left empty": (form(part("", b""), part("a", b"x")), [("a", b"x")], {"file": ""}),
    "a field called _charset_": (
        form(part(None, b"utf-8", name="_charset_"), part("a", b"x")),
        [("a", b"x")],
        {"_charset_": "utf-8"},
    ),
    "a length of its own": (
        form(part("a", b"12345", headers="Content-Length: 5\r\nContent-Type: text/plain\r\n")),
        [("a", b"12345")],
        {},
    ),
    "an allowed encoding": (
        form(part("a", b"x", headers="Content-Transfer-Encoding: binary\r\n")),
        [("a", b"x")],
        {},
    ),
    "a field twice": (form(part(None, b"1", name="f"), part(None, b"2", name="f")), [], {"f": "2"}),
} | {name: (form(part("a", data), part("b", data)), [("a", data), ("b", data)], {}) for name, data in CONTENTS.items()}


@pytest.mark.parametrize("name", BODIES)
async def test_a_form_is_taken_apart_however_its_bytes_arrive(name):
    """Whole, byte by byte, and cut in two at every place: always the same files and fields."""
    body, files, fields = BODIES[name]
    for pieces in [[body], bytewise(body), *([body[:cut], body[cut:]] for cut in range(1, len(body)))]:
        assert await parse(pieces) == (files, fields)


MALFORMED = {
    "nothing at all": b"",
    "no boundary": b"hello\r\n",
    "another boundary": form(part("a", b"x")).replace(BOUNDARY.encode(), b"other"),
    "ends in a file": form(part("a", b"hello"))[:-60],
    "ends after a file": form(part("a", b"hello"))[: -len(END)],
    "ends in the last boundary": form(part("a", b"hello"))[: -len(END) + 8],
    "ends before the last dashes": form(part("a", b"hello"))[:-4],
    "ends in the headers": part("a", b"hello")[:60],
    "a boundary with a tail": form(part("a", b"x")).replace(END, f"--{BOUNDARY}x\r\n".encode()),
    "a header without a colon": form(part("a", b"x", headers="nonsense\r\n")),
    "a header with a space": form(part("a", b"x", headers="Con tent: x\r\n")),
    "an endless header": form(part("a", b"x", headers="X: " + "x" * 10_000 + "\r\n")),
    "too many headers": form(part("a", b"x", headers="X: x\r\n" * 20)),
    "a disposition that does not parse": form(part('a"b', b"x")),
    "a disposition twice": form(part("a", b"x")).replace(b"; filename", b"; name=x; filename"),
    "a file without a name": form(part("", b"content")),
    "a bad length": form(part("a", b"x", headers="Content-Length: -1\r\n")),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_form_is_refused_however_its_bytes_arrive(name):
    """An early end is never success (G3)."""
    body = MALFORMED[name]
    for pieces in ([body], bytewise(body), [body[: len(body) // 2], body[len(body) // 2 :]]):
        with pytest.raises(MalformedBody):
            await parse([piece for piece in pieces if piece], config=Config())


async def test_no_prefix_of_a_form_is_a_form():
    """Cut anywhere before its last dash, it is refused."""
    body = form(part(None, b"v", name="f"), part("a", b"1\r\n2"), part("b", b""))
    for cut in range(len(body) - 3):
        with pytest.raises(MalformedBody):
            await parse([body[:cut]] if cut else [])


LIMITS = {
    "too many files": form(*(part(f"f{n}", b"") for n in range(4))),
    "too many fields": form(*(part(None, b"", name=f"f{n}") for n in range(3))),
    "a long field": form(part(None, b"x" * 21, name="f")),
    "a long preamble": b"x\r\n" * 1000 + form(part("a", b"x")),
    "a preamble of empty lines": b"\n" * 100 + form(part("a", b"x")),
    "a long epilogue": form(part("a", b"x")) + b"x" * 3000,
    "an epilogue of lines": form(part("a", b"x")) + b"x\r\n" * 1000,
    "a large body": form(part("a", b"x" * 8000)),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_what_a_client_can_make_grow_has_a_limit(name):
    body = LIMITS[name]
    for pieces in ([body], bytewise(body)):
        with pytest.raises((TooLarge, MalformedBody)):
            await parse(pieces)


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
    ],
)
async def test_encoded_parts_are_refused(headers):
    with pytest.raises(UnsupportedMedia):
        await parse([form(part("a", b"x", headers=headers))])


async def test_a_nested_form_is_refused_and_a_file_that_is_multipart_is_a_file():
    """Whoever saves a page has a multipart/related; what is no file has no parts of its own."""
    headers = "Content-Type: multipart/mixed; boundary=x\r\n"
    with pytest.raises(UnsupportedMedia):
        await parse([form(part(None, b"x", headers=headers))])
    for name in ("a", "--x"):
        files, _ = await parse([form(part(name, b"--x\r\n\r\n--x--\r\n", headers=headers))])
        assert files == [(name, b"--x\r\n\r\n--x--\r\n")]


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        (None, UnsupportedMedia),
        ("text/plain", UnsupportedMedia),
        ("application/x-www-form-urlencoded", UnsupportedMedia),
        ("multipart/mixed; boundary=x", UnsupportedMedia),
        ("multipart/form-data", MalformedBody),
        ("multipart/form-data; boundary=", MalformedBody),
        ('multipart/form-data; boundary=""', MalformedBody),
        (f"multipart/form-data; boundary={'x' * 71}", MalformedBody),
        ('multipart/form-data; boundary="x "', MalformedBody),
        ("multipart/form-data; boundary=<>", MalformedBody),
        ("multipart/form-data; boundary=x; boundary=y", MalformedBody),
        ('multipart/form-data; boundary="open', MalformedBody),
    ],
)
async def test_what_the_headers_tell_is_refused_before_the_body(content_type, error):
    with pytest.raises(error):
        await parse([], headers={} if content_type is None else {"Content-Type": content_type})


@pytest.mark.parametrize("boundary", ["x", "-", "x" * 70, "a b", "'()+_,-./:=?"])
async def test_every_boundary_that_the_rfc_allows_works(boundary):
    body = form(part("a", b"\r\n--x--")).replace(BOUNDARY.encode(), boundary.encode())
    if boundary == "x":
        body = body.replace(b"\r\n--x--\r\n--x--", b"data\r\n--x--")
    files, _ = await parse([body], headers={"Content-Type": f'multipart/form-data; boundary="{boundary}"'})
    assert [name for name, _ in files] == ["a"]


async def test_a_length_over_the_limit_is_refused_before_the_body():
    with pytest.raises(TooLarge):
        await parse([], headers=FORM | {"Content-Length": "7001"})


async def test_an_encoded_body_is_refused():
    """A small body that unpacks to a large one has no way in."""
    with pytest.raises(UnsupportedMedia):
        await parse([], headers=FORM | {"Content-Encoding": "gzip"})


_FILES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b.txt", "日本", "x y"]),
        st.one_of(
            st.binary(max_size=200),
            st.lists(st.sampled_from([b"\r", b"\n", b"-", BOUNDARY.encode(), b"--", b"x"]), max_size=12).map(b"".join),
        ),
    ),
    max_size=3,
)


@settings(max_examples=300)
@given(files=_FILES, data=st.data())
def test_any_files_arrive_as_they_were_sent(files, data):
    """Whatever the contents and the cuts, unless a content holds a delimiter of its own."""
    delimiter = b"\r\n--" + BOUNDARY.encode()
    if any(delimiter in b"\r\n" + content for _, content in files):
        return
    body = form(*(part(name, content) for name, content in files))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=10)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True) if a < b]
    assert asyncio.run(parse(pieces)) == (files, {})


@settings(max_examples=500)
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=50),
            st.sampled_from(
                [part("a", b"x"), END, b"\r\n", b"--", f"--{BOUNDARY}\r\n".encode(), b"Content-Disposition: form-data"]
            ),
        ),
        max_size=12,
    )
)
def test_no_bytes_raise_anything_but_a_refusal(pieces):
    """Garbage is refused with an error of ours, or is a form."""
    with contextlib.suppress(ClientError):
        asyncio.run(parse(pieces))


async def test_a_part_is_handed_on_in_the_buffers_that_came():
    """Nothing is copied into small pieces: a megabyte in one buffer is one chunk."""
    data = b"x" * 1_000_000
    protocol = BaseProtocol(asyncio.get_running_loop(), mock.Mock())
    protocol.transport = mock.Mock()
    stream = StreamReader(protocol, 2**22, loop=asyncio.get_running_loop())
    stream.feed_data(part("a", b"")[:-2])
    stream.feed_data(data)
    stream.feed_data(b"\r\n" + END)
    stream.feed_eof()
    request = make_mocked_request("POST", "/upload", headers=FORM, payload=stream)
    async for file in FormSource(request, Config(), max_files=1).files():
        sizes = []
        while chunk := await file.read():
            sizes.append(len(chunk))
        assert max(sizes) > 900_000


def test_the_request_type_is_aiohttps():
    """What stands in for a request here is made by aiohttp itself."""
    assert isinstance(make_mocked_request("POST", "/"), web.Request)


async def test_fields_count_against_the_form_together():
    """Each within its own limit, all of them above the form's."""
    with pytest.raises(TooLarge):
        await parse(
            [form(*(part(None, b"x" * 900, name=name) for name in "fgh"))],
            config=Config(max_field_size=1500, max_form_size=2000),
        )


async def test_the_length_of_a_parts_header_is_the_configs():
    with pytest.raises(MalformedBody):
        await parse(
            [form(part("a", b"x", headers="X: " + "x" * 200 + "\r\n"))], config=Config(max_part_header_size=200)
        )
