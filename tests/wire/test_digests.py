"""Digest fields (RFC 9530): dictionaries of byte sequences, and of wishes."""

import contextlib
import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.errors import MalformedRequest
from headgate.wire.digest_fields import format_digests, parse_digests, parse_wish

SHA_256 = hashlib.sha256(b"x").digest()
SHA_512 = hashlib.sha512(b"x").digest()
TEXT_256 = f"sha-256=:{b64encode(SHA_256).decode()}:"
TEXT_512 = f"sha-512=:{b64encode(SHA_512).decode()}:"


@pytest.mark.parametrize(
    ("text", "digests"),
    [
        ("", {}),
        (" ", {}),
        (TEXT_256, {"sha-256": SHA_256}),
        (f"{TEXT_256},{TEXT_512}", {"sha-256": SHA_256, "sha-512": SHA_512}),
        (f" {TEXT_512} \t,  {TEXT_256} ", {"sha-512": SHA_512, "sha-256": SHA_256}),
        (f"{TEXT_256};a=1; b", {"sha-256": SHA_256}),
        (f"md5=:AAAA:, {TEXT_256}, unixsum=:AQ==:", {"sha-256": SHA_256}),
        ("sha=:AAAA:", {}),
        (f"sha-256=:AAAA:, {TEXT_256}", {"sha-256": SHA_256}),  # RFC 9651, 4.2.2: the last of a key stands
    ],
)
def test_known_digests_are_read_and_others_ignored(text, digests):
    assert parse_digests("Content-Digest", text) == digests


@pytest.mark.parametrize(
    "text",
    ["sha-256", "sha-256=", "sha-256=AAAA", "sha-256=:AAAA", "sha-256=:AAA:", "sha-256=:A*AA:", "sha-256=:AAAA:",
     f"{TEXT_256},", f",{TEXT_256}", f"{TEXT_256} {TEXT_512}", "SHA-256=:AAAA:", "sha-256=?1", "=:AAAA:", "md5=1",
     f"{TEXT_256};", f"{TEXT_256}\n"],
)  # fmt: skip
def test_what_does_not_parse_is_an_error_not_ignored(text):
    """A client that sends a digest means it to be held against the bytes."""
    with pytest.raises(MalformedRequest):
        parse_digests("Content-Digest", text)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("", None),
        ("sha-256=1", "sha-256"),
        ("sha-256=1, sha-512=10", "sha-512"),
        ("sha-512=3, sha-256=3", "sha-256"),
        ("sha-512=0, sha-256=1", "sha-256"),
        ("sha-256=0", None),
        ("md5=10, sha-512=1", "sha-512"),
        ("md5=10", None),
        ("sha-256=5;q=1", "sha-256"),
    ],
)
def test_the_most_wanted_algorithm_that_we_know_is_chosen(text, wish):
    assert parse_wish(text) == wish


@pytest.mark.parametrize("text", ["sha-256", "sha-256=11", "sha-256=-1", "sha-256=x", "sha-256=1,", "sha-256=1.5", "5"])
def test_a_wish_that_does_not_parse_is_an_error(text):
    with pytest.raises(MalformedRequest):
        parse_wish(text)


@given(st.fixed_dictionaries({"sha-256": st.binary(min_size=32, max_size=32)}))
def test_what_is_written_reads_the_same(digests):
    assert parse_digests("Repr-Digest", format_digests(digests)) == digests


@given(st.text())
def test_nothing_else_is_raised(text):
    for parse in (lambda: parse_digests("Content-Digest", text), lambda: parse_wish(text)):
        with contextlib.suppress(MalformedRequest):
            parse()
