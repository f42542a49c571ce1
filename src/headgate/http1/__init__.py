"""Connections of ``headgate serve``: what comes before a request is one, and how many there may be.

`framing` cuts what a client sends into messages and refuses what is none, without I/O; `connection` is aiohttp's own
protocol with that in front of it; `listener` accepts connections and bounds them. An application that is served in
another way, by ``aiohttp.web.run_app`` say, has none of this.
"""

from headgate.http1.listener import Listener

__all__ = ["Listener"]
