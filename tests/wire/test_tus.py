"""tus's headers: values, or an error; nothing else, whatever comes."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import MalformedRequest
from headgate.wire.tus import (
    ALGORITHMS,
    Checksum,
    Concat,
    parse_checksum,
    parse_concat,
    parse_defer,
    parse_metadata,
    parse_number,
)

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=1)


@given(st.dictionaries(KEYS, st.binary()))
def test_metadata_that_is_well_formed_comes_out_as_it_went_in(pairs):
    text = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in pairs.items())
    assert parse_metadata(text) == pairs
    assert parse_metadata(text.replace(" ,", ",").replace(",", ", ")) == pairs


@given(st.text())
def test_whatever_comes_is_a_value_or_malformed(text):
    for parse in (
        parse_metadata,
        parse_checksum,
        parse_concat,
        parse_defer,
        lambda text: parse_number("Upload-Offset", text),
    ):
        try:
            parse(text)
        except MalformedRequest as error:
            assert error.status == 400  # noqa: PT017 - that it is raised is not the promise


@given(st.integers(0, 10**18 - 1))
def test_a_number_is_digits(number):
    assert parse_number("Upload-Offset", str(number)) == number


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checksum_has_the_length_of_its_kind(algorithm):
    digest = hashlib.new(algorithm, b"x").digest()
    text = base64.b64encode(digest).decode()
    assert parse_checksum(f"{algorithm} {text}") == Checksum(algorithm, digest)
    for bad in (f"{algorithm}{text}", f"{algorithm.upper()} {text}", f"{algorithm} "):
        with pytest.raises(MalformedRequest):
            parse_checksum(bad)


def test_a_concatenation_is_partial_or_final():
    assert parse_concat("partial") == Concat(None)
    assert parse_concat("final;/a http://h/b  /a") == Concat(("/a", "http://h/b", "/a"))
