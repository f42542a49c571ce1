"""Structured fields (RFC 9651): what parses, to what, and that all else does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.structured_fields import Token, parse_dictionary, parse_item

ITEMS = [
    ("42", 42),
    ("-0", 0),
    ("-999999999999999", -999999999999999),
    ("4.5", 4.5),
    ("-0.125", -0.125),
    ('"a \\"b\\" \\\\"', 'a "b" \\'),
    ("foo123/456:*", Token("foo123/456:*")),
    ("*", Token("*")),
    (":cHJldGVuZA==:", b"pretend"),
    ("::", b""),
    ("?1", True),
    ("?0", False),
    (" 5 ", 5),
    ('5;a;b=1;  c="x";d=:AA==:;e=?0;f=tok', 5),
]

NO_ITEMS = [
    *("", " ", "1 2", "1,", "1;", "1; ", "1;A", "1 ;a", "1;a =1", "1;a=", '1;a="', "1234567890123456", "1.", "1.1234"),
    *(".5", "--1", "+1", "1e5", '"', '"\\a"', '"\x7f"', '"é"', "?", "?2", "?11", ":", ":a:", ":*:", ":AAA", "(1 2)"),
    *("@1659578233", '%"x"', "é", "\t1", "1\n"),
]

DICTIONARIES = [
    ("", {}),
    ("a=1", {"a": 1}),
    ("a", {"a": True}),
    ("a;x=1, b=?0 ,\t*c=:AA==:", {"a": True, "b": False, "*c": b"\x00"}),
    ("a=1, a=2", {"a": 2}),
    ("  a-b_c.d*=tok  ", {"a-b_c.d*": Token("tok")}),
]

NO_DICTIONARIES = [
    "a=",
    "a=1,",
    ",a=1",
    "a=1,,b",
    "A=1",
    "a =1",
    "a= 1",
    "a=1 b=2",
    "1=a",
    "a=(1 2)",
    "a;",
    "=1",
    "a=é",
]


@pytest.mark.parametrize(("text", "item"), ITEMS)
def test_an_item_is_read_as_its_kind(text, item):
    """With its spaces and parameters, which mean nothing here; a token is another value than a string."""
    parsed = parse_item(text)
    assert (parsed, type(parsed)) == (item, type(item))


@pytest.mark.parametrize("text", NO_ITEMS)
def test_what_is_no_item_is_none(text):
    """Whatever part of it would be one."""
    assert parse_item(text) is None


@pytest.mark.parametrize(("text", "members"), DICTIONARIES)
def test_a_dictionary_has_its_last_members(text, members):
    """Nothing at all is an empty one; a key alone is true."""
    assert parse_dictionary(text) == members


@pytest.mark.parametrize("text", NO_DICTIONARIES)
def test_what_is_no_dictionary_is_none(text):
    """It is not read in part."""
    assert parse_dictionary(text) is None


@given(st.text(alphabet='aA*1.-?:"\\;=, \t(é', max_size=30))
def test_any_text_is_read_or_refused(text):
    """Nothing else happens; what is an item is the value of a dictionary, too."""
    item = parse_item(text)
    parse_dictionary(text)
    if item is not None and "," not in text:
        assert parse_dictionary(f"key={text.strip(' ')}") == {"key": item}
