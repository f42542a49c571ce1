"""How a server is asked to do a piece of work.

A way to do it takes the server and returns what has been moved: bytes, or files where those are what counts. It raises
Failed unless the server did all of it.
"""

import base64
import itertools
import os
import selectors
import threading
from collections.abc import Callable

from bench.load import BLOCK, MIB, Failed, connect, exchange, multipart, pipeline, request
from bench.servers import Running
from bench.yardsticks import fsyncs

__all__ = [
    "AT_ONCE",
    "CONNECTIONS",
    "EXPORTS",
    "LARGE",
    "SOURCE",
    "Way",
    "arrived",
    "at_once",
    "form",
    "get",
    "many_gets",
    "name_of_its_own",
    "one_fsync_at_a_time",
    "put",
    "small_form",
    "small_put",
    "tus",
    "watch",
    "with_source",
    "zipped",
]

#: Bytes of the large file, and how many are sent at once; files of the many small ones, their bytes, and connections.
LARGE = 512 * MIB
AT_ONCE = 8
SMALL, SMALL_SIZE, CONNECTIONS = 10_000, 4096, 50
EXPORTS = 100

#: What exports are of: made before the first.
SOURCE = "source.bin"

_numbers = itertools.count()

Way = Callable[[Running], int]


def name_of_its_own() -> str:
    return f"file-{next(_numbers)}.bin"


def arrived(server: Running, name: str, size: int) -> int:
    """It is where it belongs, whole."""
    there = server.stored(name)
    if not there.exists() or there.stat().st_size != size:
        raise Failed(f"{name} is not there, or not whole")
    return size


def form(target: str, size: int = LARGE) -> Way:
    def way(server: Running) -> int:
        name = name_of_its_own()
        head, end = multipart(target, name, size)
        exchange(server.port, head, size, end)
        return arrived(server, name, size)

    return way


def put(prefix: str, size: int = LARGE) -> Way:
    def way(server: Running) -> int:
        name = name_of_its_own()
        exchange(server.port, request("PUT", prefix + name, {"Content-Length": size}), size)
        return arrived(server, name, size)

    return way


def tus(target: str, stored: Callable[[str, str], str], size: int = LARGE) -> Way:
    """`stored`: what the file is called that has this name and came to this URL."""

    def way(server: Running) -> int:
        name, version = name_of_its_own(), {"Tus-Resumable": "1.0.0"}
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
        return arrived(server, stored(name, location), size)

    return way


def at_once(way: Way, times: int) -> Way:
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
        names = [name_of_its_own() for _ in range(count)]
        done = pipeline(server.port, CONNECTIONS, map(message, names))
        for name in (names[0], names[-1]):
            arrived(server, name, SMALL_SIZE)
        return done

    return way


def small_form(target: str, count: int = SMALL) -> Way:
    def message(name: str) -> bytes:
        head, end = multipart(target, name, SMALL_SIZE)
        return head + BLOCK[:SMALL_SIZE] + end

    return _small(message, count)


def small_put(prefix: str, count: int = SMALL) -> Way:
    return _small(
        lambda name: request("PUT", prefix + name, {"Content-Length": SMALL_SIZE}) + BLOCK[:SMALL_SIZE], count
    )


def one_fsync_at_a_time(server: Running) -> int:
    exchange(server.port, request("GET", "/"))
    return fsyncs.COUNT


def watch(server: Running, watchers: int = 100) -> None:
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


def with_source(size: int) -> Callable[[Running], None]:
    def prepare(server: Running) -> None:
        with (server.root / SOURCE).open("wb") as file:
            for _ in range(size // MIB):
                file.write(BLOCK)
            file.flush()
            os.fsync(file.fileno())

    return prepare


def get(target: str, size: int) -> Way:
    def way(server: Running) -> int:
        received = exchange(server.port, request("GET", target))[1]
        if received < size:
            raise Failed(f"{received} bytes came of {size}")
        return received

    return way


def zipped(server: Running) -> int:
    fields = {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"filenames={SOURCE}".encode()
    head = request("POST", "/export", fields | {"Content-Length": len(body)}) + body
    return exchange(server.port, head)[1]


def many_gets(target: str, size: int) -> Way:
    """As many connections at once as there are exports."""
    return at_once(get(target, size), EXPORTS)
