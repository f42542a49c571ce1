"""Whatever comes in, what goes out is an answer that we meant, or a closed connection; and nothing is left."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.bombard import PATIENT, bombard, suspicions
from fuzz.inputs import KINDS, mutated, request
from headgate.errors import MalformedBody
from headgate.wire.parameters import parse_parameters
from support import serving


@pytest.mark.timeout(120)
async def test_no_input_breaks_the_server_or_makes_it_hang(root, regime):
    """No 5xx that we did not mean, no hang, no traceback, nothing left; and among the inputs are ones that pass."""
    async with serving(root, handler_cancellation=regime, config=PATIENT) as server:
        result = await bombard(server, count=2000, seed=random.randrange(2**32))
    assert result.failures == []
    assert (result.server_errors, result.hangs) == (0, 0)
    assert {201, 400, 404, 415, 422} <= set(result.statuses)


@settings(max_examples=300)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_no_header_breaks_the_parser_of_parameters(text):
    """Verbatim, or MalformedBody."""
    try:
        value, parameters = parse_parameters(text)
    except MalformedBody:
        return
    assert value == value.lower()
    assert all(isinstance(each, str) for each in parameters.values())


@given(st.integers(0, 2**32), st.sampled_from(sorted(KINDS)))
def test_a_seed_is_a_reproduction(seed, kind):
    """The same seed gives the same input, of every kind."""
    assert KINDS[kind](random.Random(seed)) == KINDS[kind](random.Random(seed))
    assert request(random.Random(seed)) == request(random.Random(seed))
    assert mutated(random.Random(seed), b"some bytes", 5) == mutated(random.Random(seed), b"some bytes", 5)


@pytest.mark.parametrize(
    ("answer", "suspicious"),
    [
        (b"", False),
        (b"HTTP/1.1 201 Created\r\n\r\n{}", False),
        (b"HTTP/1.1 507 Full\r\nnosniff: application/problem+json\r\n\r\n{\"code\": 1}", False),
        (b"HTTP/1.1 500 Oops\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\n/srv/secret", True),
        (b"HTTP/1.1 400 Bad\r\n\r\nTraceback (most recent call last)", True),
        (b"HTTP/1.1 404 Not Found\r\nX-Content-Type-Options: nosniff\r\n\r\nplain", True),
    ],
)  # fmt: skip
def test_a_suspicious_answer_is_noticed(answer, suspicious):
    assert bool([*suspicions(b"GET / HTTP/1.1", answer, b"/srv/secret")]) == suspicious
