"""Conditional requests (RFC 9110, 13), held against what is published: every method, all lines of each field."""

from aiohttp import hdrs, web

from headgate.errors import PreconditionFailed
from headgate.storage import Entry, Expect, expect_anything
from headgate.wire.conditions import (
    CONDITIONS,
    Validators,
    check_preconditions,
    has_preconditions,
    is_not_modified,
)
from headgate.wire.fields import field_values

__all__ = ["expectation", "is_known", "validators"]


def validators(entry: Entry) -> Validators:
    return Validators(entry.etag, entry.modified_at)


def expectation(request: web.Request) -> Expect:
    """What `request`, which changes a file, wants to be there; `expect_anything` if it does not say."""
    headers = field_values(request.headers, CONDITIONS)
    if not has_preconditions(headers):
        return expect_anything

    def expect(there: Entry | None) -> None:
        known = None if there is None else validators(there)
        check_preconditions(headers, known)
        if known is not None and is_not_modified(headers, known, dates=False):
            raise PreconditionFailed

    return expect


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
