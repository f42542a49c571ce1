"""Headers with parameters, verbatim or an error."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import MalformedBody
from headgate.wire.parameters import attachment, parse_parameters


@pytest.mark.parametrize(
    ("header", "value", "parameters"),
    [
        ("", "", {}),
        ("form-data", "form-data", {}),
        ("FORM-Data; Name=a", "form-data", {"name": "a"}),
        ('form-data; name="file"; filename="a b.txt"', "form-data", {"name": "file", "filename": "a b.txt"}),
        ('form-data; filename="a;b.txt"; name=x', "form-data", {"filename": "a;b.txt", "name": "x"}),
        ('form-data; filename=""', "form-data", {"filename": ""}),
        ("form-data; filename=a b.txt", "form-data", {"filename": "a b.txt"}),
        ("form-data;;name=x;", "form-data", {"name": "x"}),
        # What aiohttp's parser would repair arrives as it was sent.
        ('form-data; filename="/etc/passwd"', "form-data", {"filename": "/etc/passwd"}),
        ('form-data; filename="\\\\x"', "form-data", {"filename": "\\x"}),
        # curl escapes quotes and backslashes; browsers send a backslash as it is.
        (r'form-data; filename="a\"b"', "form-data", {"filename": 'a"b'}),
        (r'form-data; filename="a\\b"', "form-data", {"filename": "a\\b"}),
        (r'form-data; filename="C:\dir\f"', "form-data", {"filename": r"C:\dir\f"}),
        ("form-data; filename*=UTF-8''%E6%97%A5.txt", "form-data", {"filename": "日.txt"}),
        ("form-data; filename=a; filename*=utf-8'en'b", "form-data", {"filename": "b"}),
        ("form-data; filename*=iso-8859-1''%E9", "form-data", {"filename": "é"}),
        ("multipart/form-data; boundary=----X", "multipart/form-data", {"boundary": "----X"}),
    ],
)
def test_parses(header, value, parameters):
    assert parse_parameters(header) == (value, parameters)


@pytest.mark.parametrize(
    "header",
    [
        'form-data; filename="open',
        'form-data; filename="a" b',
        "form-data; filename",
        "form-data; =x",
        "form-data; name=a; name=b",
        'form-data; filename=a"b',
        "form-data; filename*=utf-8''%FF",
        "form-data; filename*=klingon''a",
        "form-data; filename*=a",
        "form-data; filename*=\"utf-8''a\"",
    ],
)
def test_refuses_what_does_not_parse_to_the_last_character(header):
    with pytest.raises(MalformedBody):
        parse_parameters(header)


@given(st.text(max_size=200))
def test_never_raises_anything_else(header):
    with contextlib.suppress(MalformedBody):
        parse_parameters(header)


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1))
def test_no_name_breaks_out_of_its_content_disposition(name):
    """The header stays one line of ASCII, and reads back as the name."""
    header = attachment(name)
    assert header.isascii()
    assert header.isprintable()
    assert parse_parameters(header) == ("attachment", {"filename": name})
