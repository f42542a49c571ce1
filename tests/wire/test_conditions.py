"""Conditional requests (RFC 9110, 13), as tables."""

from datetime import UTC, datetime

import pytest

from headgate.errors import PreconditionFailed
from headgate.wire.conditions import Validators, check_preconditions, is_not_modified, range_holds

THERE = Validators("abc", datetime(2026, 1, 31, 12, 0, 0, 500_000, UTC))
SAME = "Sat, 31 Jan 2026 12:00:00 GMT"
BEFORE = "Sat, 31 Jan 2026 11:59:59 GMT"
AFTER = "Sat, 31 Jan 2026 12:00:01 GMT"


def test_validators_are_told_as_headers():
    assert THERE.headers() == {"ETag": '"abc"', "Last-Modified": SAME}


@pytest.mark.parametrize(
    ("headers", "goes_on"),
    [
        ({}, True),
        ({"If-Match": '"abc"'}, True),
        ({"If-Match": '"x", "abc"'}, True),
        ({"If-Match": "*"}, True),
        ({"If-Match": '"x"'}, False),
        ({"If-Match": 'W/"abc"'}, False),  # weak tags never match strongly
        ({"If-Match": "abc"}, False),
        ({"If-Match": ""}, False),
        ({"If-Unmodified-Since": SAME}, True),
        ({"If-Unmodified-Since": AFTER}, True),
        ({"If-Unmodified-Since": BEFORE}, False),
        ({"If-Unmodified-Since": "yesterday"}, True),  # no date: ignored
        ({"If-Match": '"abc"', "If-Unmodified-Since": BEFORE}, True),  # the tag alone counts
    ],
)
def test_a_request_goes_on_if_what_is_there_is_what_it_expects(headers, goes_on):
    if goes_on:
        check_preconditions(headers, THERE)
    else:
        with pytest.raises(PreconditionFailed):
            check_preconditions(headers, THERE)


@pytest.mark.parametrize(
    ("headers", "goes_on"),
    [({}, True), ({"If-Match": "*"}, False), ({"If-Match": '"abc"'}, False), ({"If-Unmodified-Since": AFTER}, False)],
)
def test_nothing_is_never_what_was_expected(headers, goes_on):
    if goes_on:
        check_preconditions(headers, None)
    else:
        with pytest.raises(PreconditionFailed):
            check_preconditions(headers, None)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({}, False),
        ({"If-None-Match": '"abc"'}, True),
        ({"If-None-Match": 'W/"abc"'}, True),
        ({"If-None-Match": '"x", W/"abc"'}, True),
        ({"If-None-Match": "*"}, True),
        ({"If-None-Match": '"x"'}, False),
        ({"If-Modified-Since": SAME}, True),
        ({"If-Modified-Since": AFTER}, True),
        ({"If-Modified-Since": BEFORE}, False),
        ({"If-Modified-Since": "x"}, False),
        ({"If-None-Match": '"x"', "If-Modified-Since": AFTER}, False),  # the tag alone counts
    ],
)
def test_what_a_client_has_is_not_sent_again(headers, known):
    assert is_not_modified(headers, THERE) == known


def test_dates_are_for_reading():
    assert not is_not_modified({"If-Modified-Since": SAME}, THERE, dates=False)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (None, True),
        ('"abc"', True),
        (SAME, True),
        ("Saturday, 31-Jan-26 12:00:00 GMT", True),
        ('W/"abc"', False),
        ('"x"', False),
        (BEFORE, False),
        (AFTER, False),  # it must be the very same
        ("x", False),
    ],
)
def test_a_range_holds_only_of_what_the_client_knows(value, holds):
    assert range_holds(value, THERE) == holds
