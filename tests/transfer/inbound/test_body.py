"""The bytes of a body: counted, bounded, and what breaks them named."""

import asyncio
import contextlib
from unittest import mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from headgate.errors import Disconnected, MalformedTransfer, TooLarge
from headgate.transfer.inbound.body import Body


def a_body(limit):
    protocol = BaseProtocol(asyncio.get_running_loop(), mock.Mock())
    protocol.transport = mock.Mock()
    stream = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    request = make_mocked_request("POST", "/", payload=stream)
    return protocol, stream, request, Body(request, limit=limit)


@pytest.mark.parametrize(
    ("raised", "error"), [(web.RequestPayloadError("x"), MalformedTransfer), (ConnectionResetError(), Disconnected)]
)
async def test_what_a_broken_body_raises_is_named(raised, error):
    _, stream, _, body = a_body(10)
    stream.set_exception(raised)
    with pytest.raises(error):
        await body.read()


async def test_a_read_after_the_client_went_is_a_disconnect():
    protocol, _, request, body = a_body(10)
    protocol.transport = request.protocol.transport = None
    with pytest.raises(Disconnected):
        await body.read()


@pytest.mark.parametrize("size", [10, 11])
async def test_a_body_may_have_its_limit_and_not_a_byte_more(size):
    _, stream, _, body = a_body(10)
    stream.feed_data(b"x" * 6)
    assert await body.read() == b"x" * 6
    stream.feed_data(b"x" * (size - 6))
    with contextlib.nullcontext() if size == 10 else pytest.raises(TooLarge):
        assert len(await body.read()) == 4


async def test_what_is_unread_is_read_again_and_counted_once():
    _, stream, _, body = a_body(10)
    stream.feed_data(b"0123456789")
    assert await body.read() == b"0123456789"
    body.unread(b"456789")
    assert body.consumed == 4
    assert body.read_unread(2) == b"45"
    assert await body.read() == b"6789"
    assert body.consumed == 10
