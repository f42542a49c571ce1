"""Ids of jobs are random, and never the same twice."""

import os

from headgate.lowlevel.random_ids import new_id


def test_ids_are_random_uuids_and_all_different():
    """Over several stocks of random bytes."""
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {(each.version, each.variant) for each in ids} == {(4, "specified in RFC 4122")}


def test_a_forked_process_has_ids_of_its_own():
    """What its parent had at hand it does not hand out a second time."""
    new_id()
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, new_id().bytes)
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 16) != new_id().bytes
    os.close(reading)
    os.close(writing)
