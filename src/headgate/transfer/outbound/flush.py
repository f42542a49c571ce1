"""Waiting until everything that was written to a client has left this process's buffers.

asyncio tells a writer only when its buffer is below a mark. `flush` sets that mark to zero while it waits. Before a
sendfile the buffer must be empty, or the file's bytes would overtake what is in it; before a job's point of no return
it must be empty, or the client would still be waiting for bytes of a job that has ended.
"""

from aiohttp import web

from headgate.errors import Disconnected
from headgate.lowlevel.sockets import is_plain
from headgate.transfer.watchdog import ClientWait

__all__ = ["flush"]


async def flush(request: web.Request, waited: ClientWait) -> None:
    """Wait until every byte written so far has left the buffers of this process (with TLS: of the transport below).

    Raises Disconnected if the connection ends first.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise Disconnected
    # A plain transport pauses above the high-water mark. A TLS transport pauses already at the mark: with 0 it would
    # pause for ever, with an empty buffer.
    transport.set_write_buffer_limits(high=0 if is_plain(transport) else 1)
    try:
        with waited:
            await request.writer.drain()
    finally:
        if not transport.is_closing():  # a closing TLS transport raises here
            transport.set_write_buffer_limits()
    if transport.is_closing():  # the wait ended because the connection did
        raise Disconnected
