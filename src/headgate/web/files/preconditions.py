"""Conditional requests (RFC 9110, 13), held against what is published: every method, all lines of each field."""

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
    return Validators(entry.etag, entry.modified_at)


def requested_precondition(request: web.Request) -> Precondition:
    """What has to hold of the file that `request` changes; NO_PRECONDITION if the request does not say."""
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
        if other_than is None and exists:  # both *: nothing can be so
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
    """Has the client of `request`, which reads a file, what is there? Raises PreconditionFailed if a condition does not
    hold, or if that is so and the method has no answer for it (13.1.2)."""
    headers = field_values(request.headers, CONDITIONS)
    check_preconditions(headers, there)
    reads = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
    known = is_not_modified(headers, there, dates=reads)
    if known and not reads:
        raise PreconditionFailed
    return known
