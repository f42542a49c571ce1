"""From which page, and from which machine, a request comes.

A browser sends requests for pages of any origin, with the cookies of ours. It tells the server so: in Sec-Fetch-Site
(Fetch metadata), and in Origin. Clients that are not browsers send neither header.
"""

import functools
import ipaddress

from aiohttp import hdrs, web

from headgate.errors import Forbidden
from headgate.web.middleware.message import authority

__all__ = ["check_origin", "is_loopback"]


def check_origin(request: web.Request) -> None:
    """Raise Forbidden if a browser sent `request` for a page of another origin than this server's.

    Sec-Fetch-Site counts first: it is right whatever name a proxy gives this server. Old browsers, and all browsers
    over plain HTTP, do not send it: then Origin is compared with Host (RFC 6454, section 7).
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        host = authority(request)
        origin = request.headers.get(hdrs.ORIGIN, f"://{host}").partition("://")[2]
        site = "same-origin" if origin.lower() == host.lower() else "cross-site"
    if site not in ("same-origin", "none"):
        raise Forbidden("Pages of other origins are not served.")


@functools.lru_cache(maxsize=1024)  # asked for every request, about few hosts
def is_loopback(host: str) -> bool:
    """Does `host`, a name or an address, name this machine from this machine alone?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
