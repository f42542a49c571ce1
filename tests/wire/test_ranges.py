"""Byte ranges (RFC 9110, 14), as a table and as a space."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import RangeNotSatisfiable
from headgate.wire.ranges import ByteRange, parse_range

SIZE = 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-", [(500, 500)]),
        ("bytes=-1", [(999, 1)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=999-5000", [(999, 1)]),
        ("Bytes = 0-1", [(0, 2)]),
        ("bytes=0-1 , 5-6\t,-1", [(0, 2), (5, 2), (999, 1)]),
        ("bytes=10-11,0-1", [(10, 2), (0, 2)]),  # in the order in which they were asked for
        ("bytes=0-1,2000-3000", [(0, 2)]),  # what lies outside is left out
    ],
)
def test_what_is_asked_for_is_read(value, expected):
    assert parse_range(value, SIZE, most=8) == [ByteRange(*each) for each in expected]


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=x-y", "bytes=5-1", "items=0-1", "bytes=0-1;5-6", "bytes=0 - 1"),
        *("bytes=0-1,", "bytes=+1-2", "bytes=1-2-3", "bytes=٣-٤", "bytes=" + "9" * 30 + "-"),
        *("bytes=0-10,5-15", "bytes=0-,0-", "bytes=" + ",".join(f"{n}-{n}" for n in range(9))),
    ],
)
def test_what_is_no_range_or_too_much_is_ignored(value):
    """As if it had not been sent: the whole is right, too."""
    assert parse_range(value, SIZE, most=8) is None


@pytest.mark.parametrize("value", ["bytes=1000-", "bytes=1000-2000,5000-", "bytes=-0"])
def test_what_lies_outside_is_refused(value):
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(value, SIZE, most=8)
    assert caught.value.size == SIZE


def test_of_nothing_there_is_no_range():
    with pytest.raises(RangeNotSatisfiable):
        parse_range("bytes=0-", 0, most=8)


def test_a_range_says_where_it_lies():
    assert ByteRange(5, 10).content_range(100) == "bytes 5-14/100"


@given(st.text(st.sampled_from("0123456789-,= byts\t"), max_size=40), st.integers(0, 10**6))
def test_whatever_is_sent_what_is_read_lies_within(value, size):
    """In bounds, not empty, never twice the same byte, and never more than the whole."""
    try:
        ranges = parse_range("bytes=" + value, size, most=8)
    except RangeNotSatisfiable:
        return
    for each in ranges or []:
        assert 0 <= each.start < each.end <= size
    assert sum(each.length for each in ranges or []) <= size
