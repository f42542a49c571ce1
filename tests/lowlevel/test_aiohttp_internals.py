"""The parts of aiohttp that it does not promise: they are there, and the check at start tells when one is not."""

import asyncio

import pytest
from aiohttp import MultipartReader, StreamReader, http_writer, web, web_protocol
from aiohttp.web_protocol import RequestHandler

import headgate
from headgate.errors import ConfigError
from headgate.lowlevel.aiohttp_check import check_aiohttp
from headgate.lowlevel.aiohttp_internals import ServerProtocol, count_as_received, drain_buffered, write_now


class Renamed:
    """Stands in for an attribute that aiohttp has no more."""

    def __get__(self, instance, owner):
        raise AttributeError("renamed")

    def __set__(self, instance, value):
        raise AttributeError("renamed")


def renamed(monkeypatch, cls, name):
    monkeypatch.setattr(cls, name, Renamed())


async def waits(*args, **kwargs):
    await asyncio.sleep(0)


#: What aiohttp may change, by what the check says of it.
BREAKS = {
    "what a server makes its protocols with": (
        "ServerProtocol",
        lambda patch: patch.setattr(web.Server, "_kwargs", Renamed(), raising=False),
    ),
    "the queue of messages": ("ServerProtocol", lambda patch: renamed(patch, RequestHandler, "_messages")),
    "what the protocol waits for": ("ServerProtocol", lambda patch: renamed(patch, RequestHandler, "_waiter")),
    "the request that is answered": (
        "ServerProtocol",
        lambda patch: renamed(patch, RequestHandler, "_current_request"),
    ),
    "whether the connection ends": ("ServerProtocol", lambda patch: renamed(patch, RequestHandler, "_force_close")),
    "what a queued error is": (
        "ServerProtocol",
        lambda patch: patch.setattr("headgate.lowlevel.aiohttp_internals._ErrInfo", lambda status, exc: None),
    ),
    "what answers an error": (
        "ServerProtocol",
        lambda patch: patch.delattr("headgate.lowlevel.aiohttp_internals.ServerProtocol._make_error_handler"),
    ),
    "the buffer of a body": ("drain_buffered", lambda patch: renamed(patch, StreamReader, "_buffer")),
    "reading that buffer": (
        "drain_buffered",
        lambda patch: patch.setattr(StreamReader, "_read_nowait", lambda self, size: self.read_nowait(size)),
    ),
    "where the parser's errors go": (
        "has_broken_framing",
        lambda patch: patch.setattr(web_protocol, "_ErrInfo", Renamed, raising=False),
    ),
    "a write that does not wait": (
        "write_now, write_interim",
        lambda patch: patch.setattr(http_writer.StreamWriter, "write", waits),
    ),
    "the count of what was sent": (
        "write_now, write_interim",
        lambda patch: patch.setattr(http_writer.StreamWriter, "_write", lambda self, data: None),
    ),
    "which class reads a part": (
        "PartsReader",
        lambda patch: patch.setattr(MultipartReader, "fetch_next_part", lambda self: waits()),
    ),
}


def test_this_aiohttp_is_one_that_headgate_knows():
    check_aiohttp()


async def test_the_check_does_not_mind_a_running_loop():
    check_aiohttp()


@pytest.mark.parametrize("part", BREAKS)
def test_the_check_fails_for_every_part_that_aiohttp_has_changed(monkeypatch, part):
    """It names the version and what relies on the part; nothing is turned off without a word."""
    named, change = BREAKS[part]
    with monkeypatch.context() as patch:
        change(patch)
        with pytest.raises(ConfigError, match=r"aiohttp \d+\.\d+.*changed") as caught:
            check_aiohttp()
        assert named in str(caught.value)
    check_aiohttp()


def test_an_application_is_not_created_on_an_aiohttp_that_has_changed(monkeypatch, tmp_path):
    renamed(monkeypatch, RequestHandler, "_messages")
    with pytest.raises(ConfigError, match="aiohttp"):
        headgate.create_app(headgate.Config(root=tmp_path))


async def answer(request):
    return web.Response()


async def test_bytes_of_a_lost_client_are_there_in_the_order_in_which_they_came():
    protocol = ServerProtocol(web.Server(answer), loop=asyncio.get_running_loop())
    content = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    content.feed_data(b"one, ")
    content.feed_data(b"two")
    content.set_exception(ConnectionResetError())
    assert drain_buffered(content) == b"one, two"
    assert drain_buffered(content) == b""


@pytest.mark.parametrize("size", [1, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_a_body_that_was_received_past_the_parser_is_followed_by_the_next_request(size):
    """However long it is, of whatever the parser had seen some: nothing of it is left, and what comes next is read."""
    for seen in (0, size // 2):
        protocol = ServerProtocol(web.Server(answer), loop=asyncio.get_running_loop())
        protocol.data_received(f"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(seen))
        message, content = protocol._messages.popleft()
        assert len(drain_buffered(content)) == seen
        request = web.BaseRequest(message, content, protocol, None, None, asyncio.get_running_loop())
        count_as_received(request, size - seen)
        assert content.is_eof()
        assert drain_buffered(content) == b""
        protocol.data_received(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert protocol._messages[0][0].path == "/next"


async def test_a_write_to_a_lost_connection_is_told_and_leaves_no_circle(monkeypatch):
    class Request:
        writer = http_writer.StreamWriter(ServerProtocol(web.Server(waits), loop=asyncio.get_running_loop()), None)

    assert write_now(Request(), b"data") is False
