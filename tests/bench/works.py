"""The work that is measured: for each piece, how every server is asked to do it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load import MIB
from bench.servers import Running
from bench.ways import (
    AT_ONCE,
    CONNECTIONS,
    EXPORTS,
    LARGE,
    SOURCE,
    Way,
    at_once,
    form,
    get,
    many_gets,
    one_fsync_at_a_time,
    put,
    small_form,
    small_put,
    tus,
    watch,
    with_source,
    zipped,
)

__all__ = ["WORKS", "Work"]


@dataclass(frozen=True)
class Work:
    """One piece of work. `prepare`: done once for each server, before it is measured."""

    title: str
    ways: Mapping[str, Way]
    unit: str = "GB"
    prepare: Callable[[Running], None] = lambda _: None
    #: Where it stores: on the directory's own file system, or in memory, where nothing can be made durable.
    in_memory: bool = False
    #: Bytes that a run of it writes at most.
    writes: int = 768 * MIB
    #: Are files removed as they come? Many small ones are left until the end: without a journal, ext4 is slow to make a
    #: file after many were removed, and it is not the removing that is measured.
    tidy: bool = True


WORKS: dict[str, Work] = {
    "multipart": Work(
        "multipart upload, 512 MiB",
        {
            "floor": put("/"),
            "headgate": form("/upload"),
            "busboy": form("/"),
            "formidable": form("/"),
            "Starlette": form("/form"),
            "aiohttp, naive": form("/form"),
        },
    ),
    "put": Work(
        "raw PUT, 512 MiB",
        {
            "floor": put("/"),
            "headgate": put("/files/"),
            "nginx": put("/"),
            "nginx, default": put("/"),
            "Starlette": put("/raw/"),
            "aiohttp, naive": put("/raw/"),
        },
    ),
    "tus": Work(
        "tus PATCH, 512 MiB",
        {
            "floor": put("/"),
            "headgate": tus("/tus", lambda name, _: name),
            "@tus/server": tus("/files", lambda _, url: url.rpartition("/")[2]),
        },
    ),
    "parallel": Work(
        f"{AT_ONCE} multipart uploads of 64 MiB at once",
        {
            "headgate": at_once(form("/upload", 64 * MIB), AT_ONCE),
            "busboy": at_once(form("/", 64 * MIB), AT_ONCE),
            "Starlette": at_once(form("/form", 64 * MIB), AT_ONCE),
            "aiohttp, naive": at_once(form("/form", 64 * MIB), AT_ONCE),
        },
    ),
    "small": Work(
        f"uploads of 4 KiB over {CONNECTIONS} connections, durable",
        {
            "one fsync at a time": one_fsync_at_a_time,
            "headgate": small_form("/upload"),
            "headgate, PUT": small_put("/files/"),
        },
        unit="files",
        tidy=False,
    ),
    "small-volatile": Work(
        f"uploads of 4 KiB over {CONNECTIONS} connections, in memory",
        {
            "headgate": small_form("/upload"),
            "headgate, PUT": small_put("/files/"),
            "Starlette": small_form("/form"),
            "busboy": small_form("/"),
            "aiohttp, naive": small_form("/form"),
            "nginx": small_put("/"),
        },
        unit="files",
        in_memory=True,
        tidy=False,
    ),
    "controlled": Work(
        "raw PUT, 512 MiB, under a rate limit and before watchers",
        {
            "headgate": put("/files/"),
            "headgate, rate limit": put("/files/"),
            "headgate, 100 watchers": put("/files/"),
        },
        prepare=watch,
    ),
    "stored": Work(
        "stored export, 512 MiB",
        {
            "floor": get("/" + SOURCE, LARGE),
            "headgate": get("/files/" + SOURCE, LARGE),
            "nginx": get("/" + SOURCE, LARGE),
            "Starlette": get("/stored/" + SOURCE, LARGE),
            "aiohttp, naive": get("/stored/" + SOURCE, LARGE),
        },
        prepare=with_source(LARGE),
    ),
    "exports": Work(
        f"{EXPORTS} stored exports of 8 MiB at once",
        {
            "headgate": many_gets("/files/" + SOURCE, 8 * MIB),
            "nginx": many_gets("/" + SOURCE, 8 * MIB),
            "Starlette": many_gets("/stored/" + SOURCE, 8 * MIB),
        },
        prepare=with_source(8 * MIB),
    ),
    "rows": Work(
        "generated export, rows of 1 KiB",
        {"headgate, embedded": get("/files/rows", 128 * MIB), "aiohttp, naive": get("/rows", 128 * MIB)},
    ),
    "chunks": Work(
        "generated export, chunks of 64 KiB",
        {"headgate, embedded": get("/files/chunks", LARGE), "aiohttp, naive": get("/chunks", LARGE)},
    ),
    "zip": Work("zip of a stored file, 512 MiB", {"headgate": zipped}, prepare=with_source(LARGE)),
}
