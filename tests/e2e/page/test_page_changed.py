"""A chosen file that is not what was chosen any more, in a real browser: said at once, and never half of each."""

import os
import re
from contextlib import suppress

import pytest
import pytest_asyncio
from playwright.async_api import Error, expect

from e2e.conftest import running
from e2e.page import test_page as pages

MIB = 1024 * 1024
CHOOSE_AGAIN = "has changed; choose it again"

#: Milliseconds that "at once" may take: a third of what sending the rest would.
AT_ONCE = 8_000

browser, browsing = pages.browser, pages.browsing

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def slow(root):
    """A server that takes 24 s for 24 MiB."""
    async with running(root, "--total-rate", "1MiB") as server:
        yield server
        server.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browsing, slow):
    async with browsing(slow.url) as page:
        await expect(page.locator("#signed-in")).to_be_visible()
        yield page


def made(path, size, letter=b"a"):
    path.write_bytes(letter * size)
    return path


def published(served):
    return [name for name in served.files() if not name.startswith(".staging/")]


def rewrite(path):
    """Other bytes of the same length, in the same file."""
    with path.open("r+b") as file:
        file.write(b"b" * path.stat().st_size)


def replace(path):
    """Another file of the same length and name."""
    os.replace(made(path.with_name("other"), path.stat().st_size, b"b"), path)


def append(path):
    with path.open("ab") as file:
        file.write(b"b")


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def remove(path):
    path.unlink()


async def see_changed(page, name, change=None):
    row = page.locator("#failed .job").filter(has=page.get_by_text(name, exact=True))
    why = re.compile("choose it again") if change is remove else CHOOSE_AGAIN
    await expect(row).to_contain_text(why, timeout=AT_ONCE)
    await expect(page.live(name)).to_have_count(0)
    # What was chosen is not there any more: only another choice helps.
    await expect(row.get_by_role("button", name="Try again")).to_have_count(0)


@pytest.mark.parametrize("change", [rewrite, replace, append, truncate, remove])
async def test_a_large_file_that_changes_while_it_is_sent_is_never_published(page, slow, tmp_path, change):
    """Neither as a mixture, nor at all; and it is not tried again for ever."""
    path = made(tmp_path / "big.bin", 24 * MIB)
    await page.choose(path)
    await expect(page.live("big.bin").locator(".state")).to_have_text("Uploading")
    await expect(page.live("big.bin").locator(".facts")).to_contain_text("KiB of 24.0 MiB")
    change(path)
    await see_changed(page, "big.bin", change)
    assert published(slow) == []


@pytest.mark.parametrize("size", [MIB, 9 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("change", [rewrite, replace, remove])
async def test_a_file_that_changes_before_its_turn_is_not_sent(page, slow, tmp_path, change, size):
    """It waited behind others."""
    await page.choose(*(made(tmp_path / f"{number}.bin", 24 * MIB) for number in range(2)))
    await expect(page.locator("#live .running")).to_have_count(2)
    path = made(tmp_path / "late.bin", size)
    await page.choose(path)
    await expect(page.live("late.bin").locator(".state")).to_have_text("Waiting its turn")
    change(path)
    for number in range(2):
        await page.live(f"{number}.bin").get_by_role("button", name="Terminate").click()
    await see_changed(page, "late.bin", change)
    assert published(slow) == []


async def test_a_changed_file_that_is_chosen_again_is_uploaded(browsing, root, tmp_path):
    """Whole, as it is now: nothing of what was sent before goes into it."""
    async with running(root, "--total-rate", "8MiB") as served, browsing(served.url) as page:
        path = made(tmp_path / "big.bin", 24 * MIB)
        await page.choose(path)
        await expect(page.live("big.bin").locator(".state")).to_have_text("Uploading")
        rewrite(path)
        await see_changed(page, "big.bin")
        await page.choose(path)
        await expect(page.file("big.bin")).to_be_visible()
        assert (root / "big.bin").read_bytes() == b"b" * 24 * MIB


async def test_a_file_that_changes_while_it_is_paused_is_not_sent(page, slow, tmp_path):
    """It is told when it is let go, at the latest; the others are not held up."""
    path = made(tmp_path / "big.bin", 24 * MIB)
    await page.choose(path)
    row = page.live("big.bin")
    await row.get_by_role("button", name="Pause").click()
    await expect(row.locator(".state")).to_have_text("Paused")
    rewrite(path)
    with suppress(Error):  # it may have failed already
        await row.get_by_role("button", name="Resume").click(timeout=3_000)
    await see_changed(page, "big.bin")
    assert published(slow) == []
