"""Quota accounting: how many bytes a storage has, whose they are, and how many more may come.

A `Ledger` counts for one storage, and stands beside it. Each upload has an `Account`, which is promised bytes before
they come. A `Census` of what is published corrects the ledger now and then.

Rules of this file:

- Pure arithmetic on the loop: no I/O, no await. The storage measures the disk and counts its files, and reports here.
- Bytes count from the moment they are promised to an upload, not when they are written: parallel uploads would
  otherwise jointly take what each of them alone may have.
- An account is empty however its upload ended; what it published stays with its owner.
"""

import sys
from collections import Counter
from dataclasses import dataclass

from headgate.errors import QuotaExceeded, StorageFull
from headgate.lowlevel.readable_size import readable

__all__ = ["Account", "Census", "Ledger", "Possession", "Possessions"]


@dataclass(frozen=True, slots=True)
class Possession:
    """Bytes of one published file, and its owner; None where that was not written down."""

    owner: str | None
    size: int


#: Published files, by inode: names change hands.
Possessions = dict[int, Possession]


class Census:
    """What is published, added up while it is counted: in a thread, so that the loop has no long sum to do.

    Made of nothing that the garbage collector looks at: a hundred thousand objects more, and each of its full turns
    would stop the loop for long.
    """

    __slots__ = ("_owners", "_sizes", "owned")

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._owners: dict[int, str | None] = {}
        self.owned: Counter[str | None] = Counter()  #: bytes, by owner

    def add(self, inode: int, possession: Possession) -> None:
        """Count a file once, whatever it was before and however many names it has."""
        self.remove(inode)
        self._sizes[inode], self._owners[inode] = possession.size, possession.owner
        self.owned[possession.owner] += possession.size

    def remove(self, inode: int) -> None:
        """Do not count a file, if it was counted."""
        if inode in self._sizes:
            self.owned[self._owners.pop(inode)] -= self._sizes.pop(inode)


class Ledger:
    """The bytes of one storage.

    `quota`: bytes in all; `quota_per_owner`: bytes of one owner; None: as many as the disk takes. `min_free`: bytes
    that are to stay free on the disk.
    """

    def __init__(self, *, quota: int | None = None, quota_per_owner: int | None = None, min_free: int = 0) -> None:
        self._quota = quota
        self._quota_per_owner = quota_per_owner
        self._min_free = min_free
        self._room = 0  # bytes on the disk that no upload was promised, by the last measure
        #: When that was, in seconds of whatever clock the measurer uses.
        self.measured_at = float("-inf")
        self._owned: Counter[str | None] = Counter()
        self._total = 0
        self._accounts: set[Account] = set()
        self._come: Possessions | None = None  # what was published while a census is taken
        self._gone: set[int] = set()  # what was replaced meanwhile

    @property
    def counts(self) -> bool:
        """Is there a quota, so that a census is needed?"""
        return self._quota is not None or self._quota_per_owner is not None

    @property
    def counts_owners(self) -> bool:
        """Is there a quota of each owner, so that the owners of files have to be known?"""
        return self._quota_per_owner is not None

    @property
    def total(self) -> int:
        """Bytes published and promised, in all."""
        return self._total

    def owned(self, owner: str | None) -> int:
        """Bytes published and promised, of `owner`."""
        return self._owned[owner]

    def open(self, owner: str) -> "Account":
        """An account for one upload of `owner`; it must be closed or settled."""
        account = Account(self, owner)
        self._accounts.add(account)
        return account

    def measured(self, free: int, now: float) -> None:
        """The disk has `free` bytes for us."""
        self.measured_at = now
        self._room = free - self._min_free - sum(account.reserved - account.written for account in self._accounts)

    def begin_census(self) -> None:
        """A census of what is published begins."""
        self._come, self._gone = {}, set()

    def end_census(self, census: Census, staged: set[int]) -> None:
        """The count has ended. `staged`: inodes that belong to an account still, though they may have a name already.

        Files that were published or replaced while the census was taken are counted right, whether it saw them or not.
        """
        assert self._come is not None
        for inode in staged | self._gone:
            census.remove(inode)
        for inode, possession in self._come.items():
            census.add(inode, possession)
        self._come = None
        self._owned = census.owned
        for account in self._accounts:
            self._owned[account.owner] += account.reserved
        self._total = self._owned.total()

    # For accounts.

    def available(self, owner: str) -> int:
        """Bytes that `owner` may still be promised; below 0 where a limit was lowered."""
        return min(self._room, self._quotas_leave(owner))

    def admit(self, owner: str, beside: int) -> None:
        """See ``Account.admit``."""
        if self._quotas_leave(owner) < 0 or self._room < beside:
            self.refuse(owner, beside if self._quotas_leave(owner) >= beside else 0)

    def refuse(self, owner: str, size: int) -> None:
        """Raise what stands against promising `owner` `size` bytes more, in numbers."""
        left = self._quotas_leave(owner)
        if left < size:
            quotas = [quota for quota in (self._quota, self._quota_per_owner) if quota is not None]
            of = " and ".join(readable(quota) for quota in quotas)
            raise QuotaExceeded(
                f"{readable(size)} more are wanted; of the quota of {of}, {readable(max(0, left))} are left."
            )
        free = max(0, self._room)
        raise StorageFull(
            f"{readable(size)} more are wanted; the disk has {readable(free)} for uploads,"
            f" beside the {readable(self._min_free)} that it keeps free and what others were promised."
        )

    def _quotas_leave(self, owner: str) -> int:
        in_all = sys.maxsize if self._quota is None else self._quota - self._total
        own = sys.maxsize if self._quota_per_owner is None else self._quota_per_owner - self._owned[owner]
        return min(in_all, own)

    def promise(self, owner: str | None, size: int) -> None:
        """`owner` has `size` bytes more, or fewer."""
        self._owned[owner] += size
        self._total += size
        if not self._owned[owner]:
            del self._owned[owner]  # owners come and go; those with nothing need no line

    def make_room(self, size: int) -> None:
        self._room += size

    def close(self, account: "Account") -> None:
        self._accounts.discard(account)

    def settle(self, owner: str | None, published: Possessions, replaced: Possessions) -> None:
        """`published` files have appeared, `replaced` ones are gone."""
        if not self.counts:
            return
        for possession in published.values():
            self.promise(owner, possession.size)
        for possession in replaced.values():
            self.promise(possession.owner, -possession.size)
        if self._come is not None:
            for inode in replaced:
                self._come.pop(inode, None)
            self._come |= published
            self._gone |= replaced.keys()


class Account:
    """What one upload was promised, and what it has written of that, or holds in memory. Bytes."""

    __slots__ = ("_ledger", "buffered", "owner", "reserved", "written")

    def __init__(self, ledger: Ledger, owner: str) -> None:
        self._ledger = ledger
        self.owner = owner
        self.reserved = 0
        self.written = 0
        self.buffered = 0  # received, and not written yet

    def reserve(self, least: int, most: int) -> None:
        """Be promised `most` bytes beyond those that have come, or as many as there are if that is at least `least`.

        What was promised before and exceeds `most` goes back. Raises QuotaExceeded or StorageFull.
        """
        ledger = self._ledger
        come = self.written + self.buffered
        more = come + most - self.reserved
        if more > 0:
            more = min(more, max(0, ledger.available(self.owner)))
            missing = come + least - self.reserved - more
            if missing > 0:
                ledger.refuse(self.owner, more + missing)
        self.reserved += more
        ledger.promise(self.owner, more)
        ledger.make_room(-more)

    def admit(self, beside: int) -> None:
        """Check that one more upload, even an empty one, may begin, and that the disk has room for `beside` bytes that
        no quota counts. Raises QuotaExceeded or StorageFull."""
        self._ledger.admit(self.owner, beside)

    def set_stored(self, size: int) -> None:
        """Set the bytes that the upload has on the disk to `size`; what it was promised beyond them stays promised."""
        beyond = self.reserved - self.written
        if size + beyond != self.reserved:
            self._ledger.promise(self.owner, size + beyond - self.reserved)
        self.written, self.reserved = size, size + beyond

    def wrote(self, size: int) -> None:
        """`size` bytes that were held in memory are on the disk now."""
        size = min(size, self.buffered)
        self.buffered -= size
        self.written += size

    def settle(self, published: Possessions, replaced: Possessions) -> None:
        """The upload is published, in place of `replaced` files: its bytes are its owner's, its account is closed."""
        self.written += self.buffered
        self.close()
        self._ledger.settle(self.owner, published, replaced)

    def close(self) -> None:
        """The upload has ended and nothing of it is left. The disk will tell, at its next measure, what that freed."""
        self._ledger.promise(self.owner, -self.reserved)
        self._ledger.make_room(self.reserved - self.written)
        self._ledger.close(self)
        self.reserved = self.written = self.buffered = 0
