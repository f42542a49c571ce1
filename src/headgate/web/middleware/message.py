"""Checks of every request as an HTTP/1.1 message, whatever it asks for (RFC 9112; section numbers are its own).

Rules of this file:

- A message that a proxy and this server could read in two ways is refused, not repaired: that is how requests are
  smuggled past a proxy.
- The authority in an absolute request target counts before Host (3.2.2).
"""

import re
from functools import lru_cache

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from headgate.errors import MalformedRequest, UnsupportedFeature
from headgate.wire.fields import field_value

__all__ = ["authority", "check_message", "has_faulty_framing", "port_of"]

# RFC 3986, 3.2.2 and 3.2.3: a name, or an address in brackets, and a port. A user part is not accepted: a URL is no
# proof of who sends it.
_AUTHORITY = re.compile(r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")

#: The absolute form of a target (RFC 9112, 3.2.2).
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def check_message(request: web.Request) -> None:
    """Raise MalformedRequest or UnsupportedFeature if `request` is not a message that the server may act upon."""
    version = request.version
    if version.major != 1 or version < HttpVersion10:
        raise MalformedRequest("HTTP/1.0 and HTTP/1.1 are spoken here.")
    coding = field_value(request.headers, hdrs.TRANSFER_ENCODING)
    if coding is not None and coding.strip(" \t").lower() != "chunked":  # 6.1
        raise UnsupportedFeature("The only transfer coding is chunked.")
    hosts = len(request.headers.getall(hdrs.HOST, ()))
    if hosts > 1 or (not hosts and version >= HttpVersion11):  # 3.2
        raise MalformedRequest("A request has one Host.")
    if not _is_authority(authority(request)):
        raise MalformedRequest("The request names no valid host.")


@lru_cache(maxsize=256)  # most requests name one of a few hosts
def _is_authority(text: str) -> bool:
    match = _AUTHORITY.fullmatch(text)
    return match is not None and int(match[1] or 0) <= 65535


def has_faulty_framing(request: web.Request) -> bool:
    """Has `request` a transfer coding that its version, HTTP/1.0, lacks? Then its connection ends with the answer
    (6.1)."""
    return request.version < HttpVersion11 and hdrs.TRANSFER_ENCODING in request.headers


def authority(request: web.Request) -> str:
    """Host and port as the client wrote them; empty where a client of HTTP/1.0 left them out."""
    path = request.raw_path
    match = None if path.startswith("/") else _ABSOLUTE.match(path)
    return request.headers.get(hdrs.HOST, "") if match is None else match[1]


def port_of(request: web.Request) -> str:
    """The port in `authority`; empty where it is the default one of the scheme."""
    match = _AUTHORITY.fullmatch(authority(request))
    return (match[1] or "") if match is not None else ""
