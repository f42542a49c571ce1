"""The work that is measured: for each piece, how every server is asked to do it.

A way to do it returns what has been moved: bytes, or files where those are what counts.
"""

import base64
import itertools
import os
import selectors
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load import BLOCK, MIB, Failed, connect, exchange, multipart, pipeline, request
from bench.servers import Running
from bench.yardsticks import fsyncs

__all__ = ["WORKS", "Work"]

#: Bytes of the large file, and how many are sent at once; files of the many small ones, their bytes, and connections.
LARGE = 512 * MIB
AT_ONCE = 8
SMALL, SMALL_SIZE, CONNECTIONS = 10_000, 4096, 50
EXPORTS = 100

#: What exports are of: made before the first.
SOURCE = "source.bin"

_numbers = itertools.count()

Way = Callable[[Running], int]


@dataclass(frozen=True)
class Work:
    """One piece of work. `prepare`: done once for each server, before it is measured."""

    title: str
    ways: Mapping[str, Way]
    unit: str = "GB"
    prepare: Callable[[Running], None] = lambda _: None
    #: Where it stores: on the directory's own file system, or in memory, where nothing can be made durable.
    in_memory: bool = False
    #: Are files removed as they come? Many small ones are left until the end: without a journal, ext4 is slow to make a
    #: file after many were removed, and it is not the removing that is measured.
    tidy: bool = True


def _name() -> str:
    return f"file-{next(_numbers)}.bin"


def _arrived(server: Running, name: str, size: int) -> int:
    """It is where it belongs, whole."""
    there = server.stored(name)
    if not there.exists() or there.stat().st_size != size:
        raise Failed(f"{name} is not there, or not whole")
    return size


def _form(target: str, size: int = LARGE) -> Way:
    def way(server: Running) -> int:
        name = _name()
        head, end = multipart(target, name, size)
        exchange(server.port, head, size, end)
        return _arrived(server, name, size)

    return way


def _put(prefix: str, size: int = LARGE) -> Way:
    def way(server: Running) -> int:
        name = _name()
        exchange(server.port, request("PUT", prefix + name, {"Content-Length": size}), size)
        return _arrived(server, name, size)

    return way


def _tus(target: str, stored: Callable[[str, str], str], size: int = LARGE) -> Way:
    """`stored`: what the file is called that has this name and came to this URL."""

    def way(server: Running) -> int:
        name, version = _name(), {"Tus-Resumable": "1.0.0"}
        metadata = f"filename {base64.b64encode(name.encode()).decode()}"
        head = request(
            "POST", target, version | {"Upload-Length": size, "Upload-Metadata": metadata, "Content-Length": 0}
        )
        location = exchange(server.port, head)[0]["location"]
        target_of_it = "/" + location.split("/", 3)[3] if "://" in location else location
        headers = version | {
            "Upload-Offset": 0,
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": size,
        }
        exchange(server.port, request("PATCH", target_of_it, headers), size)
        return _arrived(server, stored(name, location), size)

    return way


def _at_once(way: Way, times: int) -> Way:
    """`way`, so many times at once, by as many clients."""

    def ways(server: Running) -> int:
        done: list[int] = []
        clients = [threading.Thread(target=lambda: done.append(way(server))) for _ in range(times)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if len(done) != times:
            raise Failed("some of them failed")
        return sum(done)

    return ways


def _small(message: Callable[[str], bytes], count: int) -> Way:
    def way(server: Running) -> int:
        names = [_name() for _ in range(count)]
        done = pipeline(server.port, CONNECTIONS, map(message, names))
        for name in (names[0], names[-1]):
            _arrived(server, name, SMALL_SIZE)
        return done

    return way


def _small_form(target: str, count: int = SMALL) -> Way:
    def message(name: str) -> bytes:
        head, end = multipart(target, name, SMALL_SIZE)
        return head + BLOCK[:SMALL_SIZE] + end

    return _small(message, count)


def _small_put(prefix: str, count: int = SMALL) -> Way:
    return _small(
        lambda name: request("PUT", prefix + name, {"Content-Length": SMALL_SIZE}) + BLOCK[:SMALL_SIZE], count
    )


def _one_fsync_at_a_time(server: Running) -> int:
    exchange(server.port, request("GET", "/"))
    return fsyncs.COUNT


def _watch(server: Running, watchers: int = 100) -> None:
    """Have that many watch the events of the server that is to have watchers, until it ends."""
    if not server.name.endswith("watchers"):
        return
    socks = [connect(server.port) for _ in range(watchers)]
    for sock in socks:
        sock.sendall(request("GET", "/jobs/events"))

    def drop() -> None:
        with selectors.EpollSelector() as selector:
            for sock in socks:
                selector.register(sock, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    if not key.fileobj.recv(65536):  # type: ignore[union-attr]  # they are sockets
                        selector.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]

    threading.Thread(target=drop, daemon=True).start()


def _with_source(size: int) -> Callable[[Running], None]:
    def prepare(server: Running) -> None:
        with (server.root / SOURCE).open("wb") as file:
            for _ in range(size // MIB):
                file.write(BLOCK)
            file.flush()
            os.fsync(file.fileno())

    return prepare


def _get(target: str, size: int) -> Way:
    def way(server: Running) -> int:
        received = exchange(server.port, request("GET", target))[1]
        if received < size:
            raise Failed(f"{received} bytes came of {size}")
        return received

    return way


def _zip(server: Running) -> int:
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"filenames={SOURCE}".encode()
    head = request("POST", "/export", fields | {"Content-Length": len(body)}) + body
    return exchange(server.port, head)[1]


def _many_gets(target: str, size: int) -> Way:
    """As many connections at once as there are exports."""
    return _at_once(_get(target, size), EXPORTS)


WORKS: dict[str, Work] = {
    "multipart": Work(
        "multipart upload, 512 MiB",
        {
            "floor": _put("/"),
            "headgate": _form("/upload"),
            "busboy": _form("/"),
            "formidable": _form("/"),
            "Starlette": _form("/form"),
            "aiohttp, naive": _form("/form"),
        },
    ),
    "put": Work(
        "raw PUT, 512 MiB",
        {
            "floor": _put("/"),
            "headgate": _put("/files/"),
            "nginx": _put("/"),
            "nginx, default": _put("/"),
            "Starlette": _put("/raw/"),
            "aiohttp, naive": _put("/raw/"),
        },
    ),
    "tus": Work(
        "tus PATCH, 512 MiB",
        {
            "floor": _put("/"),
            "headgate": _tus("/tus", lambda name, _: name),
            "@tus/server": _tus("/files", lambda _, url: url.rpartition("/")[2]),
        },
    ),
    "parallel": Work(
        f"{AT_ONCE} multipart uploads of 64 MiB at once",
        {
            "headgate": _at_once(_form("/upload", 64 * MIB), AT_ONCE),
            "busboy": _at_once(_form("/", 64 * MIB), AT_ONCE),
            "Starlette": _at_once(_form("/form", 64 * MIB), AT_ONCE),
            "aiohttp, naive": _at_once(_form("/form", 64 * MIB), AT_ONCE),
        },
    ),
    "small": Work(
        f"uploads of 4 KiB over {CONNECTIONS} connections, durable",
        {
            "one fsync at a time": _one_fsync_at_a_time,
            "headgate": _small_form("/upload"),
            "headgate, PUT": _small_put("/files/"),
        },
        unit="files",
        tidy=False,
    ),
    "small-volatile": Work(
        f"uploads of 4 KiB over {CONNECTIONS} connections, in memory",
        {
            "headgate": _small_form("/upload"),
            "headgate, PUT": _small_put("/files/"),
            "Starlette": _small_form("/form"),
            "busboy": _small_form("/"),
            "aiohttp, naive": _small_form("/form"),
            "nginx": _small_put("/"),
        },
        unit="files",
        in_memory=True,
        tidy=False,
    ),
    "controlled": Work(
        "raw PUT, 512 MiB, under a rate limit and before watchers",
        {
            "headgate": _put("/files/"),
            "headgate, rate limit": _put("/files/"),
            "headgate, 100 watchers": _put("/files/"),
        },
        prepare=_watch,
    ),
    "stored": Work(
        "stored export, 512 MiB",
        {
            "floor": _get("/" + SOURCE, LARGE),
            "headgate": _get("/files/" + SOURCE, LARGE),
            "nginx": _get("/" + SOURCE, LARGE),
            "Starlette": _get("/stored/" + SOURCE, LARGE),
            "aiohttp, naive": _get("/stored/" + SOURCE, LARGE),
        },
        prepare=_with_source(LARGE),
    ),
    "exports": Work(
        f"{EXPORTS} stored exports of 8 MiB at once",
        {
            "headgate": _many_gets("/files/" + SOURCE, 8 * MIB),
            "nginx": _many_gets("/" + SOURCE, 8 * MIB),
            "Starlette": _many_gets("/stored/" + SOURCE, 8 * MIB),
        },
        prepare=_with_source(8 * MIB),
    ),
    "rows": Work(
        "generated export, rows of 1 KiB",
        {"headgate, embedded": _get("/files/rows", 128 * MIB), "aiohttp, naive": _get("/rows", 128 * MIB)},
    ),
    "chunks": Work(
        "generated export, chunks of 64 KiB",
        {"headgate, embedded": _get("/files/chunks", LARGE), "aiohttp, naive": _get("/chunks", LARGE)},
    ),
    "zip": Work("zip of a stored file, 512 MiB", {"headgate": _zip}, prepare=_with_source(LARGE)),
}
