"""The conditions of a request (RFC 9110, 13), for a published file: to read it, to replace it, to delete it."""

from aiohttp import hdrs, web

from headgate.errors import PreconditionFailed
from headgate.storage import NO_PRECONDITION, Entry, Precondition
from headgate.wire.conditions import (
    CONDITIONS,
    Validators,
    check_preconditions,
    is_not_modified,
    parse_tags,
    parse_weak_tags,
)
from headgate.wire.dates import parse_date
from headgate.wire.fields import field_values

__all__ = ["is_known", "requested_precondition", "validators"]


def validators(entry: Entry) -> Validators:
    """The validators of a published file."""
    return Validators(entry.etag, entry.modified_at)


def requested_precondition(request: web.Request) -> Precondition:
    """The precondition of `request` on the file that it replaces or deletes; NO_PRECONDITION if it has none."""
    headers = field_values(request.headers, CONDITIONS)
    exists: bool | None = None
    etags = other_than = unmodified_since = None
    if (match := headers.get("If-Match")) is not None:
        etags = parse_tags(match)
        exists = True if etags is None else None
    else:  # RFC 9110, 13.1.4: ignored beside If-Match
        unmodified_since = parse_date(headers.get("If-Unmodified-Since"))
    if (none_match := headers.get("If-None-Match")) is not None:
        other_than = parse_weak_tags(none_match)
        if other_than is None and exists:  # both are *: the file is to exist and not to exist, which never holds
            etags = set()
        exists = False if other_than is None else exists
    if exists is None and etags is None and other_than is None and unmodified_since is None:
        return NO_PRECONDITION
    return Precondition(
        exists=exists,
        etags=None if etags is None else frozenset(etags),
        other_than=None if other_than is None else frozenset(other_than),
        unmodified_since=unmodified_since,
    )


def is_known(request: web.Request, there: Validators) -> bool:
    """Has the client of `request`, which reads a file with the validators `there`, this content already?

    Raises PreconditionFailed if a condition does not hold; also, in place of True, for a method that 304 does not exist
    for (13.1.2).
    """
    headers = field_values(request.headers, CONDITIONS)
    check_preconditions(headers, there)
    reads = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
    known = is_not_modified(headers, there, dates=reads)
    if known and not reads:
        raise PreconditionFailed
    return known
