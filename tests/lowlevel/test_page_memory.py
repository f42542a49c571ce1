"""Memory that disks take from: where it begins, what is found in it, and how a file's bytes come to lie in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.lowlevel import page_memory
from headgate.lowlevel.page_memory import PAGE, PageBuffer, address, aligned, find, fits


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


def filled(buffer, data):
    """`data`, received into a block of `buffer`, a few bytes at a time, and handed out."""
    buffer.begin()
    assert not buffer.has_received
    while data:
        room = buffer.room(1000)
        room[: len(data)] = data[: len(room)]
        buffer.received(min(len(room), len(data)))
        data = data[len(room) :]
    assert buffer.has_received
    return buffer.take()


@given(st.integers(0, 3 * PAGE), st.lists(st.tuples(st.booleans(), st.integers(1, PAGE), st.integers(0, 9))))
def test_bytes_lie_as_in_the_pages_of_their_file_however_they_come(start, pieces):
    """Received into blocks or not, and whatever the parser keeps: nothing is lost, and a block's place is right."""
    buffer, seen = PageBuffer(), b""
    buffer.begin_file(start, before=b"\r\n")
    buffer.allocate(4 * PAGE)
    sent = b""
    for number, (in_block, size, kept) in enumerate(pieces):
        data = bytes([number % 256]) * size
        sent += data
        before = buffer.kept
        data = filled(buffer, data) if in_block else buffer.hand_out(data)
        assert bytes(data).startswith(before)
        if in_block:
            assert fits(data, buffer.offset - len(data))
        end = max(0, len(data) - kept)
        seen += bytes(data[:end])
        buffer.keep(bytes(data[end:]))
        assert buffer.offset == start - 2 + len(seen)
    assert seen + buffer.kept == b"\r\n" + sent


def test_two_blocks_take_turns():
    """What was taken last stays as it is while more is received."""
    buffer = PageBuffer()
    buffer.allocate(PAGE)
    first, second = filled(buffer, b"first"), filled(buffer, b"second")
    assert (bytes(first), bytes(second)) == (b"first", b"second")
    assert bytes(filled(buffer, b"third")) == b"third"
    assert bytes(second) == b"second"


def test_a_block_that_was_released_is_handed_out_as_bytes_of_their_own():
    buffer = PageBuffer()
    buffer.allocate(PAGE)
    buffer.begin()
    buffer.room(4)[:] = b"data"
    buffer.received(4)
    buffer.release()
    assert buffer.is_filling
    data = buffer.take()
    assert (data, type(data)) == (b"data", bytes)
    assert not buffer.is_filling
    assert not buffer.has_blocks


@pytest.mark.parametrize("kept", [b"", b"\r\n"])
def test_what_was_received_when_filling_is_given_up_is_not_lost_and_what_was_kept_stays(kept):
    buffer = PageBuffer()
    buffer.begin_file(before=kept)
    buffer.allocate(2 * PAGE)
    buffer.begin()
    buffer.room(4)[:] = b"data"
    buffer.received(4)
    assert buffer.give_up() == b"data"
    assert buffer.give_up() == b""
    assert buffer.hand_out(b"more") == kept + b"more"


def test_a_block_is_full_when_there_is_no_room():
    buffer = PageBuffer()
    buffer.begin_file(5)
    buffer.allocate(PAGE)
    buffer.begin()
    assert len(buffer.room(2 * PAGE)) == PAGE - 5
    buffer.received(PAGE - 5)
    assert buffer.is_full
    assert len(buffer.room(1)) == 0


@pytest.fixture
def spare(monkeypatch):
    """The spare blocks: none at first."""
    monkeypatch.setattr(page_memory, "_spare", blocks := [])
    monkeypatch.setattr(page_memory, "_owned", 0)
    return blocks


def test_a_block_goes_to_the_next_buffer_when_nothing_refers_to_it(spare):
    """As long as a part of a block is on its way to the disk, the next buffer gets other memory."""
    first, second, third = PageBuffer(), PageBuffer(), PageBuffer()
    first.allocate(PAGE)
    on_its_way = filled(first, b"one")
    first.release()
    kept = list(spare)
    assert len(kept) == 2
    second.allocate(PAGE)
    assert filled(second, b"two") == b"two"
    assert filled(second, b"2") == b"2"
    assert bytes(on_its_way) == b"one"
    assert len(spare) == 1
    del on_its_way
    third.allocate(PAGE)
    assert spare == []
    second.release()
    third.release()
    assert all(any(block is each for each in spare) for block in kept)


def test_few_blocks_stay_without_a_buffer(spare):
    """What many buffers had at once is freed when they have let go of it."""
    buffers = [PageBuffer() for _ in range(10)]
    for buffer in buffers:
        buffer.allocate(PAGE)
    for buffer in buffers:
        buffer.release()
        buffer.release()
    assert len(spare) == page_memory.SPARE_BLOCKS
