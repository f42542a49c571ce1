"""The ledger: who has how many bytes, and who may have more. Pure arithmetic, so every rule is a line."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headgate.errors import QuotaExceeded, StorageFull
from headgate.storage.quota import Census, Ledger, Possession


def ledger(free=10**9, **limits):
    ledger = Ledger(**limits)
    ledger.measured(free, now=0.0)
    return ledger


def census_of(possessions):
    census = Census()
    for inode, possession in possessions.items():
        census.add(inode, possession)
    return census


def test_bytes_count_from_the_moment_they_are_promised():
    """Two uploads that each fit cannot jointly take more than there is."""
    books = ledger(quota=100)
    books.open("alice").reserve(60, 60)
    with pytest.raises(QuotaExceeded):
        books.open("bob").reserve(60, 60)
    books.open("bob").reserve(40, 40)
    assert books.total == 100


def test_an_owner_has_their_own_quota():
    books = ledger(quota_per_owner=100)
    books.open("alice").reserve(100, 100)
    books.open("bob").reserve(100, 100)
    with pytest.raises(QuotaExceeded):
        books.open("alice").reserve(1, 1)


def test_what_is_to_stay_free_stays_free():
    """Promises count against the disk, too; a quota that is left is no help."""
    books = ledger(free=1000, min_free=900, quota=10**6)
    books.open("alice").reserve(60, 60)
    with pytest.raises(StorageFull):
        books.open("bob").reserve(60, 60)


def test_as_much_as_there_is_is_promised_if_that_is_enough():
    books = ledger(quota=100)
    account = books.open("alice")
    account.reserve(10, 500)
    assert account.reserved == 100
    account.reserve(0, 20)
    assert (account.reserved, books.total) == (20, 20)


def test_a_refused_reservation_changes_nothing():
    books = ledger(quota=100)
    account = books.open("alice")
    account.reserve(50, 50)
    with pytest.raises(QuotaExceeded):
        account.reserve(101, 101)
    assert (account.reserved, books.total, books.owned("alice")) == (50, 50, 50)


def test_written_bytes_are_not_promised_twice():
    """What is on the disk shows in its next measure; only the rest is still to come."""
    books = ledger(free=1000)
    account = books.open("alice")
    account.reserve(600, 600)
    account.written = 500
    books.measured(500, now=1.0)
    with pytest.raises(StorageFull):
        books.open("bob").reserve(401, 401)
    books.open("bob").reserve(400, 400)


def test_what_was_published_stays_and_what_it_replaced_goes():
    books = ledger(quota=100)
    first = books.open("bob")
    first.reserve(30, 30)
    first.settle({1: Possession("bob", 30)}, {})
    second = books.open("alice")
    second.reserve(40, 50)
    second.settle({2: Possession("alice", 40)}, {1: Possession("bob", 30)})
    assert (books.owned("alice"), books.owned("bob"), books.total) == (40, 0, 40)


def test_a_census_tells_what_is_published_and_promises_stay():
    books = ledger(quota=1000)
    account = books.open("alice")
    account.reserve(10, 10)
    books.begin_census()
    books.end_census(census_of({1: Possession("alice", 100), 2: Possession(None, 50)}), staged=set())
    assert (books.owned("alice"), books.owned(None), books.total) == (110, 50, 160)
    account.close()
    assert books.total == 150


@pytest.mark.parametrize("seen", [True, False])
def test_what_changes_during_a_census_counts_once_whether_it_was_seen_or_not(seen):
    """Published, replaced, and published without having been told yet."""
    books = ledger(quota=1000)
    coming, placed = books.open("alice"), books.open("alice")
    coming.reserve(10, 10)
    placed.reserve(7, 7)
    books.begin_census()
    coming.settle({5: Possession("alice", 10)}, {4: Possession("bob", 3)})
    census = {9: Possession("bob", 1)}
    if seen:
        census |= {4: Possession("bob", 3), 5: Possession("alice", 10), 6: Possession("alice", 7)}
    books.end_census(census_of(census), staged={6})
    assert (books.owned("alice"), books.owned("bob"), books.total) == (17, 1, 18)
    placed.settle({6: Possession("alice", 7)}, {})
    assert books.total == 18


class Uploads(RuleBasedStateMachine):
    """Whatever uploads do, the sums are right, no limit is passed, and nothing is left of what ended."""

    def __init__(self):
        super().__init__()
        self.books = ledger(free=500, quota=300, quota_per_owner=200)
        self.accounts = []
        self.published = {}

    @rule(owner=st.sampled_from("ab"))
    def open(self, owner):
        self.accounts.append(self.books.open(owner))

    @rule(data=st.data(), least=st.integers(0, 250), more=st.integers(0, 250))
    def reserve(self, data, least, more):
        if self.accounts:
            account = data.draw(st.sampled_from(self.accounts))
            before = account.reserved
            try:
                account.reserve(least, least + more)
            except (QuotaExceeded, StorageFull):
                assert account.reserved == before
            else:
                assert account.written + least <= account.reserved <= max(before, account.written + least + more)

    @rule(data=st.data(), part=st.floats(0, 1))
    def write(self, data, part):
        if self.accounts:
            account = data.draw(st.sampled_from(self.accounts))
            account.written += int((account.reserved - account.written) * part)

    @rule(data=st.data(), publish=st.booleans())
    def end(self, data, publish):
        if self.accounts:
            account = self.accounts.pop(data.draw(st.integers(0, len(self.accounts) - 1)))
            if publish:
                replaced = {}
                if self.published:
                    inode = data.draw(st.sampled_from(sorted(self.published)))
                    replaced = {inode: self.published.pop(inode)}
                new = {object(): Possession(account.owner, account.written)}
                new = {id(key): value for key, value in new.items() if id(key) not in self.published}
                self.published |= new
                account.settle(new, replaced)
            else:
                account.close()

    @rule()
    def count(self):
        self.books.begin_census()
        self.books.end_census(census_of(self.published), staged=set())

    @invariant()
    def the_sums_are_right(self):
        for owner in "ab":
            stored = sum(p.size for p in self.published.values() if p.owner == owner)
            promised = sum(account.reserved for account in self.accounts if account.owner == owner)
            assert self.books.owned(owner) == stored + promised <= 200
        assert self.books.total == self.books.owned("a") + self.books.owned("b") <= 300


TestUploads = Uploads.TestCase
