"""The headers of every export: stored, in ranges, zipped or generated, and of the HEAD of one.

A header that all exports are to have is added to `EXPORT_HEADERS`. What depends on the one export (its digest, its
range, its type where it has another one) is added where that export is made, in place of a header of the same name
here. A page of another origin reads a header only if `RESPONSE_HEADERS` in `web/middleware/cors.py` names it, too.
An answer of 304 is no export: it says only what RFC 9110, 15.4.5 names.
"""

from aiohttp import hdrs

from headgate.wire.parameters import attachment

__all__ = ["EXPORT_HEADERS", "export_headers"]

EXPORT_HEADERS = {
    # An uploaded page must never run as one of this server's own: the browser saves it, and does not show it.
    hdrs.CONTENT_TYPE: "application/octet-stream",
    # If a browser shows it all the same, it runs no script and reaches no origin.
    "Content-Security-Policy": "sandbox; default-src 'none'",
    # A proxy such as nginx is to hand on each byte as it comes: what it has buffered can be neither paused nor stopped.
    "X-Accel-Buffering": "no",
}


def export_headers(name: str) -> dict[str, str]:
    """The headers of an export that the client is to save as `name`."""
    return EXPORT_HEADERS | {hdrs.CONTENT_DISPOSITION: attachment(name)}
