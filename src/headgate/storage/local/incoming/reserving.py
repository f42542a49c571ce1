"""Reserving room for bytes that are still to come: of the quotas, and of what the disk has free."""

import time
from contextlib import suppress

from headgate.errors import StorageFull
from headgate.storage.entry import ExpectedSize
from headgate.storage.local.disk.disk import Disk
from headgate.storage.quota import Account, Ledger

__all__ = ["RESERVE_STEP_BYTES", "admit", "reserve"]

#: Bytes reserved at once for an upload that did not tell its length: few enough that a hundred of them do not keep much
#: from others that they never need, and enough that the disk is not asked after every chunk.
RESERVE_STEP_BYTES = 8 * 1024 * 1024

#: Seconds for which a measure of the disk's free space serves. What this process writes meanwhile is accounted for.
FREE_SPACE_SECONDS = 1.0


async def reserve(disk: Disk, ledger: Ledger, account: Account, expected: ExpectedSize) -> None:
    """Have `account` promised so many bytes of what `disk` has, as ``Stage.reserve()`` says."""
    if not expected.most and not account.reserved:  # a file of no bytes needs a place, too
        await admit(disk, ledger, account, 0)
        return
    if time.monotonic() - ledger.measured_at < FREE_SPACE_SECONDS:
        with suppress(StorageFull):  # what was freed since does not show in the last measure
            account.reserve(*expected)
            return
    ledger.measured(await disk.free(), time.monotonic())
    account.reserve(*expected)


async def admit(disk: Disk, ledger: Ledger, account: Account, uncounted: int) -> None:
    """Check that `account` may have one more file, and the disk `uncounted` bytes that no quota counts. Raises
    QuotaExceeded, StorageFull, StorageFailed."""
    if time.monotonic() - ledger.measured_at >= FREE_SPACE_SECONDS:
        ledger.measured(await disk.free(), time.monotonic())
    account.admit(uncounted)
