"""Connections of ``headgate serve``: what comes before a request is one, and how many there may be.

`framing` cuts what a client sends into messages and refuses what is none, without I/O; `connection` is aiohttp's own
protocol with that in front of it, and the one file that knows aiohttp's innards; `listener` accepts connections and
bounds them. Whoever serves an application in another way has none of this.
"""

from headgate.http1.connection import check_aiohttp
from headgate.http1.listener import Listener

__all__ = ["Listener", "check_aiohttp"]
