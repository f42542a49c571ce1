"""The draft's headers, in all of its iterations; structured fields that do not parse are as if they were not there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.ietf import VERSIONS, Dialect, format_limits
from headgate.wire.structured_fields import parse_boolean, parse_integer

ALL = frozenset(VERSIONS)


def dialect(version, **headers):
    told = {} if version is None else {"Upload-Draft-Interop-Version": version}
    return Dialect(told | {name.replace("_", "-"): value for name, value in headers.items()}, ALL)


@given(st.integers(0, 10**15 - 1))
def test_an_integer_is_one_with_or_without_parameters(number):
    for text in (f"{number}", f" {number} ", f"{number};a", f'{number}; a="b";c=1'):
        assert parse_integer(text) == number


@pytest.mark.parametrize("text", [None, "", "-1", "1.0", "1e3", "+1", "1, 2", "1 2", "?1", '"1"', "1" * 16, "1;A"])
def test_what_is_no_count_is_nothing(text):
    assert parse_integer(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [("?1", True), ("?0", False), (" ?1 ", True), ("?0;a=b", False)]
    + [(text, None) for text in (None, "", "1", "?2", "?", "true", "?1?0", "?1, ?0", "??1")],
)
def test_a_boolean_is_a_question_mark_and_a_digit(text, value):
    assert parse_boolean(text) is value


@given(st.text())
def test_no_text_breaks_them(text):
    assert parse_integer(text) is None or parse_integer(text) >= 0
    assert parse_boolean(text) in (None, True, False)
    assert Dialect({"Upload-Offset": text}, ALL).offset == parse_integer(text)


def test_a_version_that_is_not_served_is_none():
    """The rules of the latest hold, and no 104 is sent."""
    assert Dialect({"Upload-Draft-Interop-Version": "6"}, frozenset({8})).version is None
    for text in (None, "7", "x", "8.0"):
        assert dialect(text).version is None
        assert dialect(text).needs_type
        assert dialect(text).appended == 204
    assert dialect("8").version == 8


def test_the_third_version_says_the_opposite():
    assert dialect("3", Upload_Incomplete="?1").complete is False
    assert dialect("3", Upload_Incomplete="?0").complete is True
    assert dialect("3").complete is True
    assert dialect("3").completeness(True) == {"Upload-Incomplete": "?0"}
    assert dialect("5", Upload_Incomplete="?1").complete is None
    assert dialect("5", Upload_Complete="?0").complete is False
    assert dialect("5").completeness(False) == {"Upload-Complete": "?0"}


def test_limits_are_a_dictionary():
    assert format_limits({"max-size": 5, "max-age": 60}) == "max-size=5, max-age=60"
