"""Clients that stall, reset, hang up half-way, and lie, on raw sockets.

How to use it for another misbehaviour: write a coroutine that takes a RawClient and a random generator and does it, and
put it into ABORTS under a name. `abort` connects, does it, and hangs up if that was not done yet. What must be true
afterwards is the same for all: the job has ended, and nothing of it is left.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from support import BOUNDARY, END, FORM, part

#: The name of the export that the clients of exports ask for; it must be large enough not to fit into buffers.
EXPORT = "large"


class RawClient:
    """A connection to 127.0.0.1, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send `data`; if the server has hung up already, that is its answer."""
        with suppress(ConnectionError):
            await self._loop.sock_sendall(self._sock, data)

    async def receive(self, size: int = 65536) -> bytes:
        """What is there; none if the server has hung up."""
        try:
            return await self._loop.sock_recv(self._sock, size)
        except ConnectionError:
            return b""

    async def status(self) -> int | None:
        """The status of the answer; None if the server hung up without one."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = await self.receive()
            if not data:
                break
            answer += data
        return int(answer.split(None, 2)[1]) if answer.startswith(b"HTTP/1") else None

    def half_close(self) -> None:
        """Nothing more comes from here, but an answer may be read."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Hang up with a reset, whatever is under way."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()


@asynccontextmanager
async def connected(port: int, *, window: int | None = None) -> AsyncIterator[RawClient]:
    """A client; on leaving it hangs up. `window`: bytes that it buffers at most."""
    with socket.socket() as sock:
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield RawClient(sock)


def head(call: str = "POST /upload", **headers: object) -> bytes:
    """The head of a request; `Content_Length` is the header Content-Length."""
    lines = [f"{call} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def upload_head(**headers: object) -> bytes:
    return head(Content_Type=FORM["Content-Type"], **headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def a_form(dice: random.Random) -> bytes:
    """A whole body of one to three files, of random sizes and with unique names."""
    sizes = [dice.choice((0, 1, 1000, 70_000, 300_000)) for _ in range(dice.choice((1, 1, 3)))]
    return b"".join(part(f"{dice.getrandbits(64):x}", dice.randbytes(size)) for size in sizes) + END


def cut(dice: random.Random, data: bytes) -> bytes:
    """`data` up to a random point before its end."""
    return data[: dice.randrange(len(data))]


Abort = Callable[[RawClient, random.Random], Awaitable[None]]


async def _half_an_upload(client: RawClient, dice: random.Random) -> None:
    body = a_form(dice)
    await client.send(cut(dice, upload_head(Content_Length=len(body)) + body))


async def _export(client: RawClient, dice: random.Random) -> None:
    """Ask for an export, and take a random part of it."""
    body = b"filename=" + EXPORT.encode()
    type_ = "application/x-www-form-urlencoded"
    await client.send(head("POST /export", Content_Type=type_, Content_Length=len(body)) + body)
    for _ in range(dice.randrange(6)):
        await client.receive(dice.choice((100, 10_000, 1_000_000)))


async def hangs_up(client: RawClient, dice: random.Random) -> None:
    await _half_an_upload(client, dice)


async def resets(client: RawClient, dice: random.Random) -> None:
    await _half_an_upload(client, dice)
    client.reset()


async def half_closes(client: RawClient, dice: random.Random) -> None:
    await _half_an_upload(client, dice)
    client.half_close()
    await client.status()


async def takes_too_little(client: RawClient, dice: random.Random) -> None:
    """Its length is shorter than its body: what exceeds it is no request either."""
    body = a_form(dice)
    await client.send(upload_head(Content_Length=dice.randrange(len(body))) + body)
    client.half_close()
    await client.status()


async def promises_too_much(client: RawClient, dice: random.Random) -> None:
    body = a_form(dice)
    await client.send(upload_head(Content_Length=len(body) + 1 + dice.randrange(1000)) + body)
    client.half_close()
    await client.status()


async def breaks_its_chunks(client: RawClient, dice: random.Random) -> None:
    body = a_form(dice)
    at = dice.randrange(len(body))
    garbage = dice.choice(
        (b"zz\r\n", b"-5\r\n", b"fffffffffffffffff\r\n", b"\r\n\r\n", b"5;" + b"x" * 10_000, b"1\r\nab")
    )
    await client.send(upload_head(Transfer_Encoding="chunked") + chunk(body[:at] or b"x") + garbage)
    await client.status()


async def forgets_the_last_chunk(client: RawClient, dice: random.Random) -> None:
    await client.send(upload_head(Transfer_Encoding="chunked") + chunk(a_form(dice)))
    client.half_close()
    await client.status()


async def sends_garbage(client: RawClient, dice: random.Random) -> None:
    body = bytearray(a_form(dice))
    for _ in range(dice.choice((1, 3, 10))):
        body[dice.randrange(min(len(body), 200))] = dice.randrange(256)
    body += b"garbage"
    await client.send(upload_head(Content_Length=len(body)) + bytes(body[:-7]))
    client.reset() if dice.random() < 0.5 else client.half_close()


async def contradicts_itself(client: RawClient, dice: random.Random) -> None:
    body = a_form(dice)
    lies = (
        {"Content_Length": -1},
        {"Content_Length": 10**30},
        {"Content_Length": "5, 6"},
        {"Content_Length": len(body), "Transfer_Encoding": "chunked"},
        {"Transfer_Encoding": "gzip, chunked"},
        {"Transfer_Encoding": "nonsense"},
        {"Content_Length": len(body), "Content_Encoding": "gzip"},
        {"Content_Length": len(body), "Expect": "miracles"},
    )
    await client.send(upload_head(**dice.choice(lies)) + body)
    client.half_close()
    await client.status()


async def is_refused_and_sends_on(client: RawClient, dice: random.Random) -> None:
    body = part("../up", b"x" * 100_000) + END
    await client.send(upload_head(Content_Length=len(body)) + body[: dice.randrange(200, len(body))])
    if dice.random() < 0.5:
        await client.status()


async def hangs_up_on_an_export(client: RawClient, dice: random.Random) -> None:
    await _export(client, dice)


async def resets_an_export(client: RawClient, dice: random.Random) -> None:
    await _export(client, dice)
    client.reset()


async def half_closes_on_an_export(client: RawClient, dice: random.Random) -> None:
    """It says that it sends no more. aiohttp takes that for a farewell; either way the job ends."""
    await _export(client, dice)
    client.half_close()


ABORTS: dict[str, Abort] = {
    abort.__name__: abort
    for abort in (
        *(hangs_up, resets, half_closes, takes_too_little, promises_too_much, breaks_its_chunks),
        *(forgets_the_last_chunk, sends_garbage, contradicts_itself, is_refused_and_sends_on),
        *(hangs_up_on_an_export, resets_an_export, half_closes_on_an_export),
    )
}


async def abort(port: int, kind: str, dice: random.Random) -> None:
    """Misbehave once, and be gone."""
    window = 4096 if "export" in kind else None
    async with connected(port, window=window) as client:
        await ABORTS[kind](client, dice)


@dataclass
class Named:
    """Who terminates a transfer needs its id before it begins."""

    id: UUID
    headers: dict[str, str]


def named(dice: random.Random) -> Named:
    id_ = UUID(int=dice.getrandbits(128), version=4)
    return Named(id_, {"Job-Id": str(id_)})


__all__ = ["ABORTS", "BOUNDARY", "EXPORT", "Named", "RawClient", "abort", "chunk", "connected", "head", "named"]
