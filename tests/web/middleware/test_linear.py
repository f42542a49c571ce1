"""No request costs more than its length: eight times as much of any header, part, query or body takes about eight times
as long, on every route that looks at it.

Measured over HTTP, with a host that lets lines of any length through, as hosts may: what counts is the time in which
nobody else is served.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

import pytest
from aiohttp import web

from headgate import Config, create_app
from headgate.errors import Forbidden
from headgate.web.middleware.auth import local_user
from headgate.web.middleware.tokens import Tokens

#: It measures times.
pytestmark = pytest.mark.alone

SHORT, LONG = 8 * 1000, 64 * 1000

#: Eight is linear, 64 quadratic; between them lies what caches and a noisy machine do to it.
RATIO = 20

#: Seconds: less is nobody's stall, and too little to be measured. More for the short one is too much in any case.
NOTHING, FAR_TOO_LONG = 0.015, 0.050

#: What goes on and on; # is a number, another one each time.
FILLERS = (
    *(" ", ";", "; ", ";a#=b", '; a="b"', ",", "k# YQ==,", "#-#,", '"', 'W/"a",', '\\"', "%41", "a", "a=1; ", "é"),
)
#: Not slashes: aiohttp's router looks at every prefix of a path, and a host bounds the target.
IN_A_TARGET = ("%41", "%c3%a9", "a", "&", "&a#=", "=", "+", "%2F", "%", ";", ":", "%25", ".")

TUS = {"Tus-Resumable": "1.0.0"}
CREATION = TUS | {"Upload-Length": "5"}
APPEND = TUS | {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
WHOLE = {"Upload-Complete": "?1"}
PARTIAL = {"Upload-Complete": "?0", "Upload-Offset": "0", "Content-Type": "application/partial-upload"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
JSON = {"Content-Type": "application/json"}
URLENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
TAGS = ('"', 'W/"', '"a", ')
DATES = ("Wed, 08 Jul 2026 00:00:00 ", "Wed, ")
DIGESTS = ("sha-256=:", "sha-256=:YQ==:;a=", "")
ITEM = ("?1;a=", "?1", "5;a=")
TYPES = ("a/b", "a/b;", 'a/b; c="', "")

#: By call: the other headers that it needs, and by header what that begins with. {job}, {tus} and {ietf} are there.
HEADERS = {
    ("GET", "/files/there"): (
        {"Range": "bytes=0-1"},
        {
            "Range": ("bytes=", "bytes=0-1,"),
            "If-Range": (*TAGS, *DATES),
            "If-Match": TAGS,
            "If-None-Match": TAGS,
            "If-Modified-Since": DATES,
            "If-Unmodified-Since": DATES,
            "Want-Repr-Digest": ("sha-256=1;a=", "sha-256=1"),
            "Job-Id": ("",),
            "Authorization": ("Bearer ", "", "Digest a="),
            "auth_token": ("t",),
            "Cookie": ("headgate_token=", "a=", 'a="', ""),
            "Host": ("h", "127.0.0.1:", "[::1"),
            "Origin": ("http://h", "null"),
            "Content-Type": TYPES,
        },
    ),
    ("PUT", "/files/new"): (
        {},
        {
            **dict.fromkeys(("If-Match", "If-None-Match"), TAGS),
            **dict.fromkeys(("Content-Digest", "Repr-Digest"), DIGESTS),
            "If-Unmodified-Since": DATES,
            "Want-Repr-Digest": ("sha-256=1;a=",),
            "Content-Encoding": ("identity", ""),
            "Content-Range": ("bytes 0-", ""),
            "Content-Type": TYPES,
            "Upload-Complete": ITEM,
            "Transfer-Encoding": ("chunked", ""),
        },
    ),
    ("DELETE", "/files/nothing"): ({}, {"If-Match": TAGS, "If-None-Match": TAGS}),
    ("POST", "/upload"): (
        FORM,
        {
            "Content-Type": (*TYPES, "multipart/form-data; boundary=", 'multipart/form-data; boundary="'),
            **dict.fromkeys(("Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version"), ITEM),
            **dict.fromkeys(("Content-Digest", "Repr-Digest"), DIGESTS),
            "Want-Repr-Digest": ("sha-256=1;a=",),
        },
    ),
    ("POST", "/upload?filename=new"): (
        WHOLE,
        {
            "Content-Disposition": ("attachment", "attachment; filename=", 'attachment; filename="', "a; b*=utf-8''"),
            "Upload-Length": ITEM,
            "Upload-Draft-Interop-Version": ITEM,
            "Content-Type": TYPES,
            "Repr-Digest": DIGESTS,
        },
    ),
    ("PATCH", "/uploads/{ietf}"): (
        PARTIAL,
        {
            "Content-Type": ("application/partial-upload", "a/b;"),
            **dict.fromkeys(("Upload-Complete", "Upload-Offset", "Upload-Length"), ITEM),
        },
    ),
    ("POST", "/tus/"): (
        CREATION,
        {
            "Upload-Metadata": ("filename ", "a ", ""),
            "Upload-Concat": ("final;", "final;http://h/tus/", "partial"),
            "Upload-Length": ("5",),
            "Upload-Defer-Length": ("1",),
            "Upload-Checksum": ("sha1 ",),
            "Content-Type": TYPES,
            "X-HTTP-Method-Override": ("POST",),
            "Tus-Resumable": ("1.0.0",),
        },
    ),
    ("PATCH", "/tus/{tus}"): (
        APPEND,
        {
            "Content-Type": ("application/offset+octet-stream", "a/b;"),
            "Upload-Offset": ("0",),
            "Upload-Checksum": ("sha1 ", "a"),
        },
    ),
    ("POST", "/export"): (JSON, {"Content-Type": ("application/json", "a/b;"), "Content-Encoding": ("gzip",)}),
    ("PATCH", "/jobs/{job}"): (JSON, {"Content-Type": ("application/json", "a/b;")}),
    ("POST", "/session"): (JSON, {"Content-Type": ("a/b;",), "Origin": ("http://h",)}),
    ("OPTIONS", "/upload"): (
        {"Origin": "https://app.example"},
        {"Access-Control-Request-Method": ("GET",), "Origin": ("https://",)},
    ),
    ("GET", "/"): ({}, {"Accept-Encoding": ("gzip", "gzip;q=", ""), "If-None-Match": TAGS}),
}

#: What stands before what goes on and on in a target, and the call's other headers.
TARGETS = [
    ("GET", "/files?after=", {}),
    ("GET", "/files?sort=size&after=1", {}),
    ("GET", "/files?sort=", {}),
    ("GET", "/files?limit=1", {}),
    ("GET", "/files?", {}),
    ("GET", "/files/", {}),
    ("PUT", "/files/a", {}),
    ("POST", "/upload?on_conflict=", FORM),
    ("POST", "/upload?filename=", WHOLE),
    ("GET", "/jobs/", {}),
    ("DELETE", "/upload/terminate?job=", {}),
    ("HEAD", "/tus/", TUS),
    ("GET", "/nothing", {}),
    ("GET", "http://127.0.0.1", {}),
]

#: Bodies in three: what they begin with, what goes on and on, what they end in.
_PART = '--x\r\nContent-Disposition: form-data; name="file"; filename="a"'
_END = "\r\n\r\na\r\n--x--\r\n"
_FIELD = "--x\r\nContent-Disposition: form-data; name=on_conflict\r\n\r\n"
BODIES = {
    "a part's disposition": (FORM, "/upload", _PART, (";", "; ", ";a#=b", '"', '\\"', " ", "%41"), _END),
    "a part's type": (FORM, "/upload", f"{_PART}\r\nContent-Type: a/b", (";", "; ", ";a#=b", '"'), _END),
    "a part's digest": (FORM, "/upload", f"{_PART}\r\nRepr-Digest: sha-256=:", ("a", "; ", ";a#=b"), _END),
    "a preamble": (FORM, "/upload", "", ("\r\n", "--", "--x", "-", "a\r\n"), f"\r\n{_PART}{_END}"),
    "a file of delimiters": (FORM, "/upload", f"{_PART}\r\n\r\n", ("\r\n--", "\r", "\r\n-"), "\r\n--x--\r\n"),
    "a field": (FORM, "/upload", _FIELD, ("a", "\r\n-"), "\r\n--x--\r\n"),
    "JSON": (JSON, "/export", '{"filename": ', ("[", '{"a":', "1", " ", '"\\u0041', "-", "[],"), "}"),
    "names of JSON": (JSON, "/export", '{"filenames": [""', (', "a#"', ', "a"', ", 1"), "]}"),
    "a urlencoded form": (URLENCODED, "/export", "filename=a", ("&", "&a#=b", "=", "%41", "%", "+", ";"), ""),
    "a token": (JSON, "/session", '{"token": "', ("a", "\\\\", " "), '"}'),
}


@cache
def filled(filler: str) -> str:
    """More of it than the longest has."""
    return "".join(filler.replace("#", str(number)) for number in range(LONG // len(filler) + 1))


@dataclass
class Target:
    """A server, and what one can name of it."""

    port: int
    known: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, headers: dict[str, str], body: str = "") -> bytes:
        """The whole answer."""
        path = path.format(**self.known) if path.endswith("}") else path
        sent = {"Host": "127.0.0.1", "auth_token": "t", "Content-Length": str(len(body.encode("latin-1")))} | headers
        if {"Authorization", "Cookie"} & headers.keys():
            del sent["auth_token"]
        lines = [f"{method} {path} HTTP/1.1", "Connection: close", *(f"{name}: {sent[name]}" for name in sent)]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with suppress(ConnectionError):  # some are answered before they are read
            writer.write("\r\n".join([*lines, "", body]).encode("latin-1"))
            answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    async def seconds(self, request, size: int, *, times: int = 1) -> float:
        """How long it takes at best, each time another one: some may be remembered."""
        best = float("inf")
        for number in range(times):
            arguments = request(size - number)
            began = time.perf_counter()
            with suppress(ConnectionError):
                await self.ask(*arguments)
            best = min(best, time.perf_counter() - began)
        return best

    async def is_linear(self, request) -> bool:
        """`request` gives one of a size. Looked at again, if it does not seem to be."""
        once = await self.seconds(request, SHORT)
        if once > NOTHING:  # the long one may be hopeless
            for size in (SHORT, 2 * SHORT, 4 * SHORT):
                if await self.seconds(request, size, times=3) > FAR_TOO_LONG * size / SHORT:
                    return False
        if await self.seconds(request, LONG) <= max(NOTHING, RATIO / 2 * once):
            return True
        once = await self.seconds(request, SHORT, times=5)
        return await self.seconds(request, LONG, times=3) <= max(NOTHING, RATIO * once)


@asynccontextmanager
async def target(root) -> AsyncIterator[Target]:
    tokens, local = Tokens(f"alice:{hashlib.sha256(b't').hexdigest()}"), local_user()
    config = Config(
        root=root,
        drain_timeout=0,
        linger_timeout=0.05,
        idle_timeout=2.0,
        max_part_header_size=2 * LONG,
        max_form_size=4 * LONG,
        max_request_size=2 * LONG,
        cors_origins=frozenset({"https://app.example"}),
    )

    class Everybody(Tokens):
        def __call__(self, request):
            with suppress(Forbidden):
                local(request)
            return tokens(request) or tokens.user_of("t")

    everybody = Everybody(f"alice:{hashlib.sha256(b't').hexdigest()}")
    app = create_app(config, authenticate=everybody)
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        lingering_time=0.05,
        shutdown_timeout=0.1,
        max_line_size=2 * LONG,
        max_field_size=2 * LONG,
    )
    await runner.setup()
    (root / "there").write_bytes(b"some bytes")
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        there = Target(site.port)
        for name, path, headers in (
            ("job", "/upload?filename=b", WHOLE),
            ("tus", "/tus/", CREATION),
            ("ietf", "/upload?filename=c", {"Upload-Complete": "?0"}),
        ):
            answer = (await there.ask("POST", path, headers)).decode()
            there.known[name] = answer.partition("Job-Id: ")[2].partition("\r\n")[0]
            assert there.known[name], answer
        yield there
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("call", HEADERS, ids=" ".join)
async def test_a_header_takes_as_long_as_it_is_long(root, call):
    """Whichever it is, and whatever it holds."""
    others, looked_at = HEADERS[call]
    async with target(root) as there:
        for name, beginnings in looked_at.items():
            for beginning in beginnings:
                for filler in FILLERS:

                    def request(size, name=name, beginning=beginning, filler=filler):
                        return *call, others | {name: beginning + filled(filler)[: size - len(beginning) - 1] + "!"}

                    assert await there.is_linear(request), f"{name}: {beginning!r}, then {filler!r} again and again"


@pytest.mark.parametrize("which", TARGETS, ids=lambda which: " ".join(which[:2]))
async def test_a_target_takes_as_long_as_it_is_long(root, which):
    """Its path, its query."""
    method, beginning, headers = which
    async with target(root) as there:
        for filler in IN_A_TARGET:
            assert await there.is_linear(
                lambda size, filler=filler: (method, beginning + filled(filler)[: size - len(beginning)], headers)
            ), filler


@pytest.mark.parametrize("what", BODIES)
async def test_a_body_takes_as_long_as_it_is_long(root, what):
    """Its parts' headers, and what holds them together."""
    headers, path, beginning, fillers, end = BODIES[what]
    async with target(root) as there:
        for filler in fillers:
            assert await there.is_linear(
                lambda size, filler=filler: ("POST", path, headers, beginning + filled(filler)[:size] + end)
            ), filler


async def test_what_is_asked_is_answered(root):
    """The measure measures: calls get as far as to what looks at their headers."""
    async with target(root) as there:
        assert b" 206 " in (await there.ask("GET", "/files/there", {"Range": "bytes=0-1"}))[:20]
        assert b" 204 " in (await there.ask("PATCH", "/tus/{tus}", APPEND))[:20]
        assert b" 409 " in (await there.ask("PATCH", "/jobs/{job}", JSON, '{"rate": 1}'))[:20]  # it is over
