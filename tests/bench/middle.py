"""Files between the small and the large: the same work at one size after another, over connections that are kept.

A series is that work at all its sizes, done by the same servers. What counts is what one file costs: CPU time, and the
time that passes.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load import BLOCK, MIB, Client, Failed, multipart, request
from bench.servers import Running
from bench.ways import Way, arrived, name_of_its_own
from bench.works import Work

__all__ = ["SERIES", "Series", "size_text"]

KIB = 1024

#: Bytes of the files that people send.
SIZES = (64 * KIB, 256 * KIB, MIB, 8 * MIB, 32 * MIB)

#: Bytes on both sides of where the server goes another way: in memory, received past the parser, a connection given up.
STEPS = tuple(KIB * each for each in (4, 16, 32, 33, 64, 256, 1024, 2048, 8192, 32768, 64512, 66560))

#: Files and bytes of one run at most, though every client sends one file at least.
FILES, BYTES = 400, 96 * MIB

#: Bytes of files that stay until the end: without a journal, ext4 is slow to make many files after many were removed.
STAYS = 256 * KIB

#: How a server is asked for one file: the client, the file's name and its bytes. Returns the bytes that came.
Ask = Callable[[Client, str, int], int]


@dataclass(frozen=True)
class Series:
    """The work of each size, in the order of the sizes (bytes); and the servers' names."""

    title: str
    works: Mapping[int, Work]

    @property
    def servers(self) -> list[str]:
        return list(next(iter(self.works.values())).ways)


def size_text(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def _form(target: str) -> Ask:
    def ask(client: Client, name: str, size: int) -> int:
        head, end = multipart(target, name, size)
        return client.ask(head, size, end)

    return ask


def _put(prefix: str) -> Ask:
    return lambda client, name, size: client.ask(
        request("PUT", prefix + name, {"Content-Length": size, "Content-Type": "application/octet-stream"}), size
    )


def _get(prefix: str) -> Ask:
    def ask(client: Client, _: str, size: int) -> int:
        received = client.ask(request("GET", prefix + _source(size)))
        if received < size:
            raise Failed(f"{received} bytes came of {size}")
        return received

    return ask


def _way(ask: Ask, size: int, clients: int, *, tls: bool, stores: bool) -> Way:
    """`clients` send or fetch files of `size` bytes, each on a connection of its own. Returns how many files."""
    each = max(1, min(FILES, BYTES // size) // clients)

    def way(server: Running) -> int:
        done: list[str] = []

        def run() -> None:
            client = Client(server.port, tls=tls)
            try:
                for _ in range(each):
                    name = name_of_its_own()
                    ask(client, name, size)
                    done.append(name)
            finally:
                client.close()

        if clients == 1:
            run()
        else:
            threads = [threading.Thread(target=run) for _ in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if len(done) != each * clients:
            raise Failed("some of them failed")
        if stores:
            for name in (done[0], done[-1]):
                arrived(server, name, size)
        return len(done)

    return way


def _source(size: int) -> str:
    return f"source-{size}.bin"


def _with_source(size: int) -> Callable[[Running], None]:
    def prepare(server: Running) -> None:
        with (server.root / _source(size)).open("wb") as file:
            for start in range(0, size, MIB):
                file.write(BLOCK[: size - start])

    return prepare


def _series(
    title: str,
    asks: Mapping[str, Ask],
    *,
    sizes: tuple[int, ...] = SIZES,
    clients: int = 1,
    tls: bool = False,
    stores: bool = True,
) -> Series:
    works = {}
    for size in sizes:
        works[size] = Work(
            f"{title}, {size_text(size)}",
            {name: _way(ask, size, clients, tls=tls, stores=stores) for name, ask in asks.items()},
            unit="files",
            prepare=(lambda _: None) if stores else _with_source(size),
            writes=max(BYTES, clients * size) if stores else 0,
            tidy=size > STAYS,
        )
    return Series(title, works)


_FORMS = {
    "headgate": _form("/upload"),
    "aiohttp, naive": _form("/form"),
    "Starlette": _form("/form"),
    "busboy": _form("/"),
    "nginx": _put("/"),
}
_PUTS = {
    "floor": _put("/"),
    "headgate": _put("/files/"),
    "aiohttp, naive": _put("/raw/"),
    "Starlette": _put("/raw/"),
    "nginx": _put("/"),
}
_GETS = {"headgate": _get("/files/"), "nginx": _get("/"), "aiohttp, naive": _get("/stored/")}

SERIES: dict[str, Series] = {
    "forms": _series("forms, one client (nginx: PUT)", _FORMS),
    "forms-16": _series("forms, 16 clients (nginx: PUT)", _FORMS, clients=16),
    "puts": _series("raw PUTs, one client", _PUTS),
    "puts-16": _series("raw PUTs, 16 clients", _PUTS, clients=16),
    "gets": _series("stored exports, one client", _GETS, stores=False),
    "gets-100": _series("stored exports, 100 clients", _GETS, sizes=SIZES[:-1], clients=100, stores=False),
    "forms-tls": _series(
        "forms over TLS, one client (nginx: PUT)",
        {"headgate, TLS": _form("/upload"), "Starlette, TLS": _form("/form"), "nginx, TLS": _put("/")},
        tls=True,
    ),
    "puts-tls": _series(
        "raw PUTs over TLS, one client",
        {"headgate, TLS": _put("/files/"), "Starlette, TLS": _put("/raw/"), "nginx, TLS": _put("/")},
        tls=True,
    ),
    "gets-tls": _series(
        "stored exports over TLS, one client",
        {"headgate, TLS": _get("/files/"), "Starlette, TLS": _get("/stored/"), "nginx, TLS": _get("/")},
        tls=True,
        stores=False,
    ),
    "steps": _series(
        "uploads, one client", {"headgate": _form("/upload"), "headgate, PUT": _put("/files/")}, sizes=STEPS
    ),
}
