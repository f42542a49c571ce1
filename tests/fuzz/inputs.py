"""Bad and odd requests without end: valid ones, broken in ways that parsers are known to stumble over.

`request(dice)` gives the bytes of one; everything about it is drawn from `dice`, so that a seed is a reproduction. What
is found becomes a plain test beside the parser that it broke.
"""

import json
import random
import urllib.parse
from collections.abc import Callable

from support import BOUNDARY, END, part

#: Pieces that mean something to some parser, somewhere.
TOKENS: tuple[bytes, ...] = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b"--", b"\r\n--", b'"', b"\\", b"'", b";", b"=", b",", b":", b" ", b"\t", b"%"),
    *(b"--" + BOUNDARY.encode(), b"\r\n--" + BOUNDARY.encode() + b"--", BOUNDARY.encode()[:10], b"\xff\xfe", b"\xc3"),
    *(b"filename=", b"filename*=utf-8''%00", b'filename="', b"name=", b"boundary=", b"multipart/mixed", b"charset=x"),
    *(b"Content-Disposition: ", b"Content-Type: ", b"Content-Transfer-Encoding: base64", b"Content-Length: 3"),
    *(b"0\r\n\r\n", b"ffffffff\r\n", b"-1", b"1e9", b"../", b"%2e%2e%2f", "\u202e".encode(), b"\xf0\x9f\x98\x80"),
    *(b"GET / HTTP/1.1\r\n\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"A" * 9000),
)  # fmt: skip

NAMES = (
    *(
        "a",
        "report.csv",
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        "/etc/passwd",
        ".staging",
        "a\x00b",
        "a\nb",
        "é" * 200,
        "x" * 300,
    ),
    *("a b", 'a"b', "a;b", "\u202egnp.exe", "CON", "a.", "-rf", "%2e%2e%2fa", "\udcff", "\ud83d\ude00"),
)

VALUES = {
    "Job-Id": ("", "x", "00000000-0000-4000-8000-000000000001", "{00000000-0000-4000-8000-000000000002}", "1" * 36),
    "Expect": ("100-continue", "100-Continue", "miracles", "\xe6", ""),
    "Content-Digest": ("sha-256=:AAAA:", "sha-256", "md5=:AAAA:", "sha-512=:" + "A" * 86 + "==:", ",", "x" * 5000),
    "Repr-Digest": ("sha-256=:" + "A" * 43 + "=:", "sha-256=?1", "a=:b:, c"),
    "Want-Repr-Digest": ("sha-256=1", "sha-512=10, sha-256=3", "sha-256=11", "sha-256=", "x"),
    "Content-Encoding": ("gzip", "identity", "br", ""),
    "Transfer-Encoding": ("chunked", "gzip", "chunked, chunked", "identity"),
    "Content-Length": ("0", "-1", "+5", "5, 5", "1000000000000000000000", "x", "0x10"),
    "Authorization": ("Bearer x", "Basic eDp5", "Bearer"),
    "auth_token": ("x", "\xff"),
    "Range": (
        "bytes=0-",
        "bytes=-1",
        "bytes=0-0,0-0,0-0",
        "bytes=0-0,2-2",
        "bytes=9-",
        "bytes=" + "0-0," * 2000,
        "x=1-2",
    ),
    "If-Range": ('"a"', 'W/"a"', "Sat, 31 Jan 2026 12:00:00 GMT", "Sat, 99 Xyz 99999999999 99:99:99", '"', ""),
    "If-Match": ("*", '"a"', 'W/"a", "b"', '"' * 3000, "", "\xff"),
    "If-None-Match": ("*", '"a"', "a, b", ""),
    "If-Modified-Since": ("Sat, 31 Jan 2026 12:00:00 GMT", "0", "Sat, 31 Jan 0000 00:00:00 GMT", "x" * 3000),
    "If-Unmodified-Since": ("Sat, 31 Jan 2026 12:00:00 +9999", "yesterday", ""),
    "Content-Range": ("bytes 0-1/2", "x"),
    "Cookie": ("headgate_token=x", "headgate_token=\xff", "a=b; headgate_token", "=;=;="),
    "Origin": ("null", "http://localhost", "http://evil.example", "\xff"),
    "Sec-Fetch-Site": ("cross-site", "none", "x"),
    "Host": ("localhost", "", "a b", "evil.example"),
    "Connection": ("close", "keep-alive", "upgrade"),
    "Upgrade": ("websocket",),
}

COUNTS = ("0", "5", "10", "4", "-1", "1e3", "9" * 19, "9999999999999", "x", "", "5;a", " 5", "\u0665", "0x5", "5, 5")

#: Headers of resumable uploads, in both protocols.
RESUMABLE = {
    "Tus-Resumable": ("1.0.0", "1.0.0", "1.0.0", "0.2.2", "", "\xff"),
    "Upload-Length": ("10", "10", "10", *COUNTS),
    "Upload-Offset": ("0", "0", "5", "10", *COUNTS),
    "Upload-Defer-Length": ("1", "1", "0", "true", ""),
    "Upload-Metadata": (
        "filename YQ==",
        "filename",
        "a,b,c",
        "a YQ==,a YQ==",
        "\xff",
        ",",
        "filename Li4v",
        "x" * 5000,
    ),
    "Upload-Concat": (
        "partial",
        "partial",
        "final;",
        "final;/tus/x",
        "final;http://[",
        "final;{id} {id}",
        "x",
        "\xff;",
    ),
    "Upload-Checksum": ("sha1 YQ==", "sha1", "crc32 YQ==", "md5 " + "A" * 22 + "==", "\xff", ""),
    "Upload-Complete": ("?0", "?0", "?1", "?1", "?2", "1", "?1;a=b", "?0, ?1", "\xff", ""),
    "Upload-Incomplete": ("?0", "?1", "x"),
    "Upload-Draft-Interop-Version": ("3", "5", "6", "8", "9", "7", "x", "8;a", ""),
    "X-HTTP-Method-Override": ("PATCH", "DELETE", "HEAD", "BREW", "", "\xff", "post"),
    "Content-Disposition": (
        'inline; filename="a b"',
        "inline; filename*=utf-8''%00",
        "inline;;;",
        "\xff",
        'x; filename="',
    ),
    "Content-Type": ("application/offset+octet-stream", "application/partial-upload", "", "x", "\xff/\xff"),
}

#: A few ids that are tried again and again, so that they may be there.
IDS = tuple(f"00000000-0000-4000-8000-0000000000{number:02d}" for number in range(20))

CONTENT_TYPES = (
    *(f"multipart/form-data; boundary={BOUNDARY}", f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'),
    *("multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x", "text/plain", ""),
    *(f"multipart/form-data; boundary={'x' * 71}", "multipart/form-data; boundary=a\x0bb", "multipart/form-data;;;="),
)


def _part(dice: random.Random) -> bytes:
    name = dice.choice(NAMES) if dice.random() < 0.5 else f"f{dice.getrandbits(40)}"
    data = dice.randbytes(dice.choice((0, 1, 10, 1000, 5000)))
    raw = part("NAME" if dice.random() < 0.8 else None, data, headers=dice.choice(("", "", "X: y\r\n", "Bad\r\n")))
    return raw.replace(b"NAME", name.encode(errors="surrogatepass"))


def form_body(dice: random.Random) -> bytes:
    preamble = dice.choice((b"", b"", b"preamble\r\n"))
    epilogue = dice.choice((b"", b"", b"epilogue"))
    return preamble + b"".join(_part(dice) for _ in range(dice.choice((0, 1, 1, 2, 5)))) + END + epilogue


def _export_body(dice: random.Random) -> tuple[str, bytes]:
    name = dice.choice(NAMES)
    fields = dice.choice(
        (
            *({"filename": name}, {"filename": [name]}, {"filename": None}, {"file": name}, [name], name, 5),
            *({"filenames": [name]}, {"filenames": ["kept", name]}, {"filenames": name}, {"filenames": [[]]}),
            *({"filename": "kept", "job": name}, {"filenames": ["kept"], "compress": name}),
        )
    )
    if dice.random() < 0.5:
        return "application/json", json.dumps(fields).encode() if dice.random() < 0.8 else b"[" * 5000
    raw = urllib.parse.urlencode({"filename": name.encode(errors="surrogatepass")}).encode()
    return "application/x-www-form-urlencoded", raw


def mutated(dice: random.Random, data: bytes, times: int) -> bytes:
    """`data`, changed `times` times: bytes flipped, cut, doubled, moved, or a token put in."""
    for _ in range(times):
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((0, 1, 2, 10, 100)))
        change = dice.randrange(6)
        if change == 0 and start < len(data):
            data = data[:start] + bytes([dice.randrange(256)]) + data[start + 1 :]
        elif change == 1:
            data = data[:start] + data[end:]
        elif change == 2:
            data = data[:end] + data[start:end] * dice.choice((1, 3)) + data[end:]
        elif change == 3:
            data = data[:start] + dice.choice(TOKENS) + data[end:]
        elif change == 4:
            data = data[:start] + dice.choice(TOKENS) + data[start:]
        else:
            data = data[: max(start, 1)]
    return data


def _headers(dice: random.Random) -> list[tuple[str, str]]:
    chosen = dice.sample(sorted(VALUES), dice.choice((0, 0, 1, 1, 2, 4)))
    return [(name, dice.choice(VALUES[name])) for name in chosen]


def _assemble(dice: random.Random, line: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    names = {name for name, _ in headers}
    if "Host" not in names:
        headers = [("Host", "localhost"), *headers]
    if "Content-Length" not in names and "Transfer-Encoding" not in names:
        headers = [*headers, ("Content-Length", str(len(body) + dice.choice((0, 0, 0, 0, -1, 1, 1000))))]
    if ("Transfer-Encoding", "chunked") in headers:
        middle = dice.randrange(len(body) + 1)
        pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1", "replace")
    return line.encode("latin-1", "replace") + b" HTTP/1.1\r\n" + lines + b"\r\n" + body


def upload(dice: random.Random) -> bytes:
    type_ = CONTENT_TYPES[0] if dice.random() < 0.8 else dice.choice(CONTENT_TYPES)
    query = dice.choice(("", "", "?on_conflict=rename", "?on_conflict=%00", "?on_conflict=replace&on_conflict=x", "?%"))
    body = form_body(dice)
    if dice.random() < 0.7:
        body = mutated(dice, body, dice.choice((1, 1, 2, 5)))
    return _assemble(dice, f"POST /upload{query}", [("Content-Type", type_), *_headers(dice)], body)


def export(dice: random.Random) -> bytes:
    type_, body = _export_body(dice)
    if dice.random() < 0.3:
        body = mutated(dice, body, 2)
    return _assemble(dice, "POST /export", [("Content-Type", type_), *_headers(dice)], body)


def control(dice: random.Random) -> bytes:
    id_ = dice.choice(("x", "%00", "..", "00000000-0000-4000-8000-000000000001", "%2e%2e", "a" * 2000, "%ff", "1?x=%"))
    method = dice.choice(("GET", "DELETE", "PATCH", "POST", "HEAD", "OPTIONS", "PUT", "BREW"))
    path = dice.choice(
        (f"/jobs/{id_}", f"/upload/terminate?job={id_}", f"/export/terminate?job={id_}", "/jobs", "//", id_)
    )
    return _assemble(dice, f"{method} {path}", _headers(dice), dice.choice((b"", b"", b"body")))


def _in_a_path(name: str) -> str:
    return urllib.parse.quote(name.encode(errors="surrogatepass"), safe="")


def file(dice: random.Random) -> bytes:
    """The calls on one file by its name, `kept` among others, and on the list of all."""
    name = dice.choice(
        ("kept", "kept", f"f{dice.getrandbits(40)}", _in_a_path(dice.choice(NAMES)), "%ff", "%2e%2e%2fx")
    )
    query = dice.choice(("", "", "?after=" + _in_a_path(dice.choice(NAMES)), "?limit=" + dice.choice(("1", "0", "x"))))
    method = dice.choice(("GET", "GET", "HEAD", "PUT", "PUT", "DELETE" if name != "kept" else "GET", "POST"))
    path = f"/files{query}" if dice.random() < 0.2 else f"/files/{name}"
    body = dice.randbytes(dice.choice((0, 10, 5000))) if method == "PUT" else b""
    return _assemble(dice, f"{method} {path}", _headers(dice), body)


def change(dice: random.Random) -> bytes:
    """The small calls with a body: of a job, and of a session."""
    wanted = dice.choice(
        (
            *({"state": "paused"}, {"state": "running", "rate": 1}, {"rate": None}, {"rate": 10**30}, {"rate": 1e308}),
            *(
                {"token": "x"},
                {"token": "\ud800"},
                {"token": [1]},
                {"state": {}},
                [],
                None,
                "x",
                {"rate": float("nan")},
            ),
        )
    )
    path = dice.choice(("/session", "/jobs/00000000-0000-4000-8000-000000000001", "/jobs/x", "/jobs"))
    type_ = dice.choice(("application/json", "application/json; charset=utf-16", "application/merge-patch+json", "x/y"))
    body = json.dumps(wanted).encode()
    if dice.random() < 0.3:
        body = mutated(dice, body, 2)
    method = dice.choice(("PATCH", "POST", "DELETE"))
    return _assemble(dice, f"{method} {path}", [("Content-Type", type_), *_headers(dice)], body)


def resumable(dice: random.Random) -> bytes:
    """An upload by tus or by the IETF's protocol: created, looked at, added to, ended; mostly not as it should be."""
    by_tus = dice.random() < 0.6
    id_ = dice.choice(IDS)
    if dice.random() < 0.4:
        line = f"POST {'/tus/' if by_tus else '/upload'}"
        wanted = ["Upload-Length"] if by_tus else ["Upload-Complete"]
        fixed = [("Job-Id", id_)] if dice.random() < 0.6 else []
    else:
        method = dice.choice(("PATCH", "PATCH", "PATCH", "HEAD", "DELETE", "GET", "OPTIONS", "POST"))
        line = f"{method} /{'tus' if by_tus else 'uploads'}/{id_ if dice.random() < 0.9 else 'x%00'}"
        wanted = ["Upload-Offset"] if by_tus else ["Upload-Offset", "Upload-Complete"]
        fixed = []
    if by_tus:
        wanted.append("Tus-Resumable")
    type_ = "application/offset+octet-stream" if by_tus else "application/partial-upload"
    chosen = {
        *(name for name in wanted if dice.random() < 0.95),
        *dice.sample(sorted(RESUMABLE), dice.choice((0, 0, 1, 2))),
    }
    headers = [
        (name, dice.choice(RESUMABLE[name]).replace("{id}", f"/tus/{dice.choice(IDS)}")) for name in sorted(chosen)
    ]
    if "Content-Type" not in chosen and dice.random() < 0.9:
        fixed.append(("Content-Type", type_))
    body = dice.randbytes(dice.choice((0, 0, 5, 10, 11, 5000)))
    others = [each for each in _headers(dice) if each[0] not in {name for name, _ in (*fixed, *headers)}]
    return _assemble(dice, line, [*fixed, *headers, *others], body)


def broken(dice: random.Random) -> bytes:
    """A request that is not even HTTP any more, mostly."""
    return mutated(dice, dice.choice((upload, export, control, file, change, resumable))(dice), dice.choice((1, 3, 10)))


def garbage(dice: random.Random) -> bytes:
    return dice.randbytes(dice.choice((1, 100, 10_000)))


KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "upload": upload,
    "export": export,
    "control": control,
    "file": file,
    "change": change,
    "resumable": resumable,
    "broken": broken,
    "garbage": garbage,
}
WEIGHTS = (10, 3, 2, 4, 2, 10, 5, 1)


def request(dice: random.Random) -> bytes:
    """The bytes of one request, from a fresh connection's beginning."""
    return KINDS[dice.choices(sorted(KINDS, key=list(KINDS).index), WEIGHTS)[0]](dice)
