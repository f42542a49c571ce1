"""Memory that disks take from: where it begins, and what is found in it."""

from hypothesis import given
from hypothesis import strategies as st

from headgate.lowlevel.page_memory import PAGE, address, aligned, find, fits


@given(st.integers(1, 3 * PAGE))
def test_it_begins_with_a_page_and_has_its_size(size):
    memory = aligned(size)
    assert (address(memory) % PAGE, len(memory)) == (0, size)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"-", b"--b", b"x"]), min_size=1), st.integers(0, 40), st.data())
def test_a_part_of_it_is_searched_as_bytes_are(pieces, before, data):
    """What lies before and after the part is not found, whether it would fit or not."""
    wanted = b"\r\n--b"
    content = b"".join(pieces)
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start + 1, len(content)))
    memory = aligned(before + len(content))[before:]
    memory[:] = content
    assert find(memory[start:end], wanted) == find(content[start:end], wanted) == content[start:end].find(wanted)


@given(st.integers(0, 2 * PAGE), st.integers(0, 2 * PAGE))
def test_it_fits_where_its_pages_are_the_files(start, offset):
    assert fits(aligned(3 * PAGE)[start:], offset) == (start % PAGE == offset % PAGE)


def test_what_cannot_be_taken_from_does_not_fit():
    """bytes lie where they lie, and are nobody's to share."""
    assert not fits(bytes(PAGE), 0)
    assert not fits(memoryview(bytes(PAGE)), 0)
