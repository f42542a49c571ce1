"""File names in URLs: percent-encoded UTF-8, decoded exactly, or refused."""

from urllib.parse import parse_qsl, unquote_to_bytes

from aiohttp import web

from headgate.errors import InvalidName
from headgate.names import check_name

__all__ = ["FILE_PATH", "name_in_path", "name_in_query", "text_in_query"]

#: The route of one file. aiohttp's own pattern for a segment does not match braces.
FILE_PATH = "/files/{name:[^/]+}"


def name_in_path(request: web.Request) -> str:
    """The file name in the last segment of the path. Raises InvalidName."""
    segment = request.rel_url.raw_path.rpartition("/")[2]
    return check_name(_decoded(unquote_to_bytes(segment)) if "%" in segment else segment)


def name_in_query(request: web.Request, field: str) -> str | None:
    """The file name in the query's `field`; None without that field. Raises InvalidName."""
    text = text_in_query(request, field)
    return None if text is None else check_name(text)


def text_in_query(request: web.Request, field: str) -> str | None:
    """The text of the query's `field`, which contains a file name; None without that field. Raises InvalidName."""
    try:
        fields = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise InvalidName("A file name must be valid UTF-8.") from None
    return fields.get(field)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidName("A file name must be valid UTF-8.") from None
