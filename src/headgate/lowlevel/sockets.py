"""What Linux knows of a TCP connection and asyncio does not tell: what the peer has got, and whether it has gone.

An asyncio transport has its socket as extra information. From it the kernel tells how many bytes the peer has
acknowledged and whether the peer has sent its last byte, without anything being read.

Rules of this file:

- Every function takes a transport that may have no socket, or no TCP (a Unix socket), and says what it answers then.
- Nothing here reads, writes or waits.
"""

import asyncio
import contextlib
import select
import socket
import struct

__all__ = ["abort", "acknowledged_bytes", "has_hung_up", "is_plain", "probe_when_silent", "socket_of"]

#: Keepalive probes without an answer that end a connection.
MAX_PROBES = 4

#: Where ``tcpi_bytes_acked`` lies in Linux's ``struct tcp_info`` (linux/tcp.h; since 4.1).
_ACKNOWLEDGED = struct.Struct("120xQ")

#: ``struct linger``: on, for no seconds. A close then resets the connection.
_LINGER_NOT = struct.pack("ii", 1, 0)


def is_plain(transport: asyncio.BaseTransport) -> bool:
    """Is this a connection without TLS, whose socket carries the very bytes that are written and read?"""
    return transport.get_extra_info("sslcontext") is None


def socket_of(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The socket of `transport`, which stays the transport's: it is to be asked, or duplicated, but not used."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    return sock


def acknowledged_bytes(transport: asyncio.BaseTransport) -> int | None:
    """Bytes that the peer's system has acknowledged since the connection began; None where it is no TCP connection."""
    sock = socket_of(transport)
    if sock is None:
        return None
    try:
        return int(_ACKNOWLEDGED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.size))[0])
    except (OSError, struct.error):
        return None


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Has the peer sent its last byte? It may still read (RFC 9112, 9.6)."""
    sock = socket_of(transport)
    if sock is None:
        return False
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def probe_when_silent(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel ask the peer whether it is still there when nothing has come for `seconds`.

    A peer that does not answer for about as long again has its connection ended. Without TCP nothing is done: the end
    of a local peer is always known.
    """
    sock = socket_of(transport)
    if sock is None:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(seconds)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(seconds) // MAX_PROBES))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, MAX_PROBES)


def abort(transport: asyncio.Transport, *, reset: bool = False) -> None:
    """End the connection without another byte, and drop what waits to be sent.

    With `reset` the peer gets a reset, which it cannot take for an end in order.
    """
    sock = socket_of(transport)
    if reset and sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
