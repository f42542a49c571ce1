"""What a file may be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import InvalidName
from headgate.names import MAX_NAME_BYTES, check_name, numbered

GOOD = [
    "a",
    "report.csv",
    "日本語.txt",
    "with space",
    "a'b\"c;d",
    "x" * 255,
    "é" * 127,
    "%2e%2e",
    "con",
    "a.",
    "~",
    "-rf",
]
BAD = [
    "",
    ".",
    "..",
    ".hidden",
    ".staging",
    "a/b",
    "/a",
    "a\\b",
    "..\\a",
    "a\0b",
    "a\nb",
    "a\rb",
    "\x1b[31m",
    "a\x7f",
    "a\x85b",
    "x" * 256,
    "é" * 128,
    "bad\udcff",
]


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_is_one_path_segment_is_taken_as_it_is(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_any_other_name_is_refused_not_repaired(name):
    with pytest.raises(InvalidName):
        check_name(name)


@given(st.text())
def test_whatever_is_accepted_stays_in_its_directory(name):
    """No accepted name can leave the root, be hidden, or break a header line."""
    try:
        check_name(name)
    except InvalidName:
        return
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0\r\n")
    assert not name.startswith(".")
    assert len(name.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("report.csv", 1, "report (1).csv"),
        ("report", 12, "report (12)"),
        ("a.tar.gz", 2, "a (2).tar.gz"),
        ("a.TAR.xz", 1, "a (1).TAR.xz"),
        ("Report v1.2 final", 1, "Report v1.2 final (1)"),
        ("v1.2", 1, "v1 (1).2"),
        (".tar.gz"[1:], 1, "tar (1).gz"),
        ("x" * 255, 1, "x" * 251 + " (1)"),
        ("é" * 125 + ".csv", 3, "é" * 123 + " (3).csv"),
    ],
)
def test_a_numbered_name_keeps_its_suffix(name, number, expected):
    assert numbered(name, number) == expected


@given(st.text(min_size=1, max_size=300), st.integers(1, 10**6))
def test_a_numbered_name_may_be_used(name, number):
    """Whatever may be called so may be numbered."""
    try:
        check_name(name)
    except InvalidName:
        return
    again = numbered(name, number)
    assert check_name(again) == again != name
