"""What Linux knows of a connection."""

import asyncio
import contextlib
import socket

import pytest

from headgate.lowlevel.sockets import abort, acknowledged_bytes, has_hung_up, is_plain, probe_when_silent, socket_of


class WithoutSocket(asyncio.Transport):
    """A transport that has no socket, as those of a test may have none."""

    aborted = False

    def abort(self):
        self.aborted = True


@contextlib.asynccontextmanager
async def a_pair(kind):
    """The transport of one end of a connection, and the socket of the other."""
    loop = asyncio.get_running_loop()
    if kind == "TCP":
        with socket.create_server(("127.0.0.1", 0)) as server:
            other = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
    else:
        ours, other = socket.socketpair()
    with other:
        ours.setblocking(False)
        other.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        try:
            yield transport, other
        finally:
            transport.abort()
            await asyncio.sleep(0)


async def test_bytes_are_acknowledged_by_the_system_of_a_tcp_peer_and_unknown_elsewhere():
    async with a_pair("TCP") as (transport, other):
        before = acknowledged_bytes(transport)
        transport.write(b"x" * 1000)
        assert await asyncio.get_running_loop().sock_recv(other, 1000) == b"x" * 1000
        assert acknowledged_bytes(transport) - before == 1000
    async with a_pair("Unix") as (transport, _):
        assert acknowledged_bytes(transport) is None
    assert acknowledged_bytes(WithoutSocket()) is None


@pytest.mark.parametrize("kind", ["TCP", "Unix"])
async def test_a_peer_that_has_sent_its_last_byte_is_known_by_it_though_nothing_is_read(kind):
    async with a_pair(kind) as (transport, other):
        transport.pause_reading()
        assert not has_hung_up(transport)
        other.send(b"last")
        assert not has_hung_up(transport)
        other.shutdown(socket.SHUT_WR)
        assert has_hung_up(transport)
    assert not has_hung_up(WithoutSocket())


async def test_a_silent_tcp_peer_is_probed_and_others_are_left_alone():
    async with a_pair("TCP") as (transport, _):
        probe_when_silent(transport, 20)
        sock = socket_of(transport)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
    async with a_pair("Unix") as (transport, _):
        probe_when_silent(transport, 20)
    probe_when_silent(WithoutSocket(), 20)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_peer_can_tell_an_aborted_connection_that_is_reset(reset):
    loop = asyncio.get_running_loop()
    async with a_pair("TCP") as (transport, other):
        abort(transport, reset=reset)
        with pytest.raises(ConnectionResetError) if reset else contextlib.nullcontext():
            assert await loop.sock_recv(other, 10) == b""
    without = WithoutSocket()
    abort(without, reset=True)
    assert without.aborted


async def test_a_connection_without_tls_is_plain():
    async with a_pair("TCP") as (transport, _):
        assert is_plain(transport)
    assert not is_plain(WithoutSocket({"sslcontext": object()}))
