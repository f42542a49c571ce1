"""Waiting until everything that was written to a client has left this process's buffers.

asyncio tells a writer only that its buffer has sunk below a mark. `flush` sets that mark to nothing for as long as it
waits. Before a sendfile nothing may be left in the buffer, or the file's bytes would overtake it; before a job's point
of no return nothing may be left either, or the client would still wait for bytes of a job that has ended.
"""

from aiohttp import web

from headgate.errors import Disconnected
from headgate.lowlevel.sockets import is_plain
from headgate.transfer.watchdog import ClientWait

__all__ = ["flush"]


async def flush(request: web.Request, waited: ClientWait) -> None:
    """Wait until every byte written so far has left our buffers (over TLS: those of the transport below).

    Raises Disconnected if the connection ends first.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise Disconnected
    # The high-water mark that leaves nothing behind: a plain transport pauses above it, one over TLS already at it, and
    # with 0 would pause with an empty buffer, for ever.
    transport.set_write_buffer_limits(high=0 if is_plain(transport) else 1)
    try:
        with waited:
            await request.writer.drain()
    finally:
        if not transport.is_closing():  # one over TLS has lost what it would need for it
            transport.set_write_buffer_limits()
    if transport.is_closing():  # a wait that the end of the connection ended
        raise Disconnected
