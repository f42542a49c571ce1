"""What holds of every request as a message of HTTP, whatever it asks for (RFC 9112).

Rules of this room: a message that two readers could understand in two ways is refused, not repaired. What a target says
of the authority counts before what Host says (3.2.2).
"""

import re
from functools import lru_cache

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from headgate.errors import MalformedRequest, UnsupportedFeature
from headgate.wire.fields import field_value

__all__ = ["authority", "check_message", "has_faulty_framing", "port_of"]

# RFC 3986, 3.2.2 and 3.2.3: a name, or an address in brackets, and a port. No user: nobody is to be one by a URL.
_AUTHORITY = re.compile(r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")

#: The absolute form of a target (RFC 9112, 3.2.2).
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def check_message(request: web.Request) -> None:
    """Raise MalformedRequest or UnsupportedFeature if `request` is no message that we may act upon."""
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
        raise MalformedRequest("The host that the request names is none.")


@lru_cache(maxsize=256)  # most requests name the same few
def _is_authority(text: str) -> bool:
    match = _AUTHORITY.fullmatch(text)
    return match is not None and int(match[1] or 0) <= 65535


def has_faulty_framing(request: web.Request) -> bool:
    """Does `request` use what its version does not have? It is answered, and its connection ends (6.1)."""
    return request.version < HttpVersion11 and hdrs.TRANSFER_ENCODING in request.headers


def authority(request: web.Request) -> str:
    """Host and port as the client says them; nothing where HTTP/1.0 leaves them out."""
    path = request.raw_path
    match = None if path.startswith("/") else _ABSOLUTE.match(path)
    return request.headers.get(hdrs.HOST, "") if match is None else match[1]


def port_of(request: web.Request) -> str:
    """The port that `authority` names; nothing where it is the scheme's own."""
    match = _AUTHORITY.fullmatch(authority(request))
    return (match[1] or "") if match is not None else ""
