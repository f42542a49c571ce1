"""What fails on the page, in a real browser: it stays in sight, says why, and offers what can be done."""

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from e2e.conftest import running
from e2e.page import test_page as pages
from headgate.web.middleware.tokens import new_token

MIB = 1024 * 1024

#: One that is sent in one request, and one that is resumable.
SIZES = pytest.mark.parametrize("size", [2 * MIB, 9 * MIB], ids=["small", "large"])

#: Is the text of an element red?
IS_RED = """element => {
    const [red, green, blue] = getComputedStyle(element).color.match(/[0-9]+/g).map(Number);
    return red > green + 60 && red > blue + 60;
}"""

browser, browsing = pages.browser, pages.browsing

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def served(root):
    async with running(root) as server:
        yield server
        server.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browsing, served):
    async with browsing(served.url) as page:
        await expect(page.locator("#signed-in")).to_be_visible()
        yield page


def made(path, size):
    path.write_bytes(os.urandom(MIB) * (size // MIB) or b"some")
    return path


def failed(page, name):
    """The failure of the transfer of the file `name`."""
    return page.locator("#failed .job").filter(has=page.get_by_text(name, exact=True))


async def see_failed(page, name, why, *ways_out, state="failed"):
    """It is in sight, in red, for the reason `why`, and offers these ways out and no others."""
    row = failed(page, name)
    await expect(row).to_have_count(1)
    await expect(row).to_be_visible()
    await expect(row).to_have_class(re.compile(rf"\b{state}\b"))
    await expect(row).to_contain_text(why)
    assert await row.locator(".state").evaluate(IS_RED)
    await expect(row.get_by_role("button")).to_have_count(len(ways_out) + 1)
    for way_out in (*ways_out, "Dismiss"):
        await expect(row.get_by_role("button", name=way_out)).to_be_visible()
    return row


async def click(row, name):
    await row.get_by_role("button", name=name).click()


async def call(*arguments):
    async with pages.curling(*arguments) as process:
        await process.communicate()


@asynccontextmanager
async def team(root, tmp_path, *options):
    """A server with alice and root, who is an admin; their tokens."""
    (alice, alices), (admin, admins) = new_token("alice"), new_token("root", admin=True)
    (tmp_path / "tokens").write_text(f"{alices}\n{admins}\n")
    async with running(root, "--tokens", str(tmp_path / "tokens"), *options) as served:
        yield served, alice, admin


async def sign_in(page, token):
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#signed-in")).to_be_visible()


@SIZES
@pytest.mark.parametrize("way_out", ["Try again", "Keep both", "Replace", "Dismiss"])
async def test_a_name_that_is_taken_has_every_way_out(page, served, tmp_path, way_out, size):
    """The page still has the chosen file: the user need not choose it again to keep both or to replace."""
    (served.root / "a.bin").write_bytes(b"old")
    path = made(tmp_path / "a.bin", size)
    await page.choose(path)
    row = await see_failed(page, "a.bin", "already", "Try again", "Keep both", "Replace")
    if way_out == "Try again":
        (served.root / "a.bin").unlink()
    await click(row, way_out)
    await expect(page.locator("#failed .job")).to_have_count(0)
    if way_out != "Dismiss":
        await page.see_ended()
        await expect(page.locator("#ended .completed")).to_have_count(1)
    await expect(page.locator("#failed")).to_be_hidden()
    kept = {"Keep both": ["a (1).bin", "a.bin"]}.get(way_out, ["a.bin"])
    assert served.files() == kept
    if way_out == "Dismiss":
        assert (served.root / "a.bin").read_bytes() == b"old"
    else:
        assert pages.digest(served.root / kept[0]) == pages.digest(path)


async def test_what_is_tried_again_may_fail_again(page, served, tmp_path):
    """It is one failure, not two; and it can be tried once more."""
    (served.root / "a.bin").write_bytes(b"old")
    await page.choose(made(tmp_path / "a.bin", 0))
    row = await see_failed(page, "a.bin", "already", "Try again", "Keep both", "Replace")
    before = await row.get_attribute("data-id")
    await click(row, "Try again")
    await expect(row).not_to_have_attribute("data-id", before)
    await see_failed(page, "a.bin", "already", "Try again", "Keep both", "Replace")
    await click(row, "Keep both")
    await expect(page.file("a (1).bin")).to_be_visible()
    await expect(page.locator("#failed .job")).to_have_count(0)


@SIZES
async def test_what_exceeds_the_quota_can_be_tried_again(browsing, root, tmp_path, size):
    """Once there is room; another name would not help."""
    root.mkdir()
    made(root / "old.bin", size)
    async with running(root, "--quota", str(size * 3 // 2)) as served, browsing(served.url) as page:
        path = made(tmp_path / "a.bin", size)
        await page.choose(path)
        row = await see_failed(page, "a.bin", re.compile("quota", re.IGNORECASE), "Try again")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        await page.get_by_role("button", name="Delete old.bin").click()
        await expect(page.file("old.bin")).to_have_count(0)
        await click(row, "Try again")
        await expect(page.file("a.bin")).to_be_visible()
        await expect(page.locator("#failed .job")).to_have_count(0)
        assert pages.digest(root / "a.bin") == pages.digest(path)


@pytest.mark.parametrize("what", ["small upload", "large upload", "export"])
async def test_what_an_admin_terminated_stays_in_sight(browsing, root, tmp_path, what):
    """By whom, and that it can be begun anew."""
    root.mkdir()
    size = 9 * MIB if what == "large upload" else 4 * MIB
    async with team(root, tmp_path, "--total-rate", "1MiB") as (served, alice, admin), browsing(served.url) as page:
        if what == "export":
            path = made(root / "a.bin", size)
        await sign_in(page, alice)
        if what == "export":
            await page.get_by_role("button", name="Export a.bin").click()
        else:
            path = made(tmp_path / "a.bin", size)
            await page.choose(path)
        under_way = "Exporting" if what == "export" else "Uploading"
        await expect(page.live("a.bin").locator(".state")).to_have_text(under_way)
        terminated = await page.live("a.bin").get_attribute("data-id")
        await call("-H", f"Authorization: Bearer {admin}", "-X", "DELETE", f"{served.url}/jobs/{terminated}")
        row = await see_failed(page, "a.bin", "Terminated by root", "Try again", state="terminated")
        await click(row, "Try again")
        await expect(page.live("a.bin").locator(".state")).to_have_text(under_way)
        assert await page.live("a.bin").get_attribute("data-id") != terminated
        await expect(page.locator("#failed .job")).to_have_count(0)


async def test_an_export_of_what_is_gone_can_be_tried_again(page, served):
    """The file may come back."""
    (served.root / "a.txt").write_bytes(b"a")
    await page.reload()
    await expect(page.file("a.txt")).to_be_visible()
    (served.root / "a.txt").unlink()
    await page.get_by_role("button", name="Export a.txt").click()
    row = await see_failed(page, "a.txt", "There is no file called 'a.txt'.", "Try again")
    (served.root / "a.txt").write_bytes(b"again")
    async with page.expect_download() as waiting:
        await click(row, "Try again")
    await (await waiting.value).save_as(served.root / "got")
    assert (served.root / "got").read_bytes() == b"again"
    await expect(page.locator("#failed .job")).to_have_count(0)


async def test_a_failure_that_was_seen_outlives_the_server(browsing, root, tmp_path):
    """Also for a transfer that was begun elsewhere, whose file this page does not have; until it is dismissed."""
    root.mkdir()
    (root / "a.bin").write_bytes(b"old")
    big = made(tmp_path / "big.bin", 9 * MIB)
    async with running(root, "--total-rate", "1MiB") as first:
        port = first.url.rpartition(":")[2]
        async with browsing(first.url) as page:
            await page.choose(made(tmp_path / "a.bin", 0))
            await see_failed(page, "a.bin", "already", "Try again", "Keep both", "Replace")
            async with pages.curling("-F", f"file=@{big}", f"{first.url}/upload"):
                await expect(page.live("big.bin").locator(".state")).to_have_text("Uploading")
            await see_failed(page, "big.bin", "client went away")
            await first.stop(signal.SIGKILL)
            await expect(page.locator("#connection")).to_contain_text("Connection lost")
            (root / "meanwhile.txt").write_bytes(b"x")
            async with running(root, "--port", port) as second:
                await expect(page.file("meanwhile.txt")).to_be_visible(timeout=30_000)
                await see_failed(page, "big.bin", "client went away")
                row = await see_failed(page, "a.bin", "already", "Try again", "Keep both", "Replace")
                await click(failed(page, "big.bin"), "Dismiss")
                await expect(page.locator("#failed .job")).to_have_count(1)
                await click(row, "Keep both")
                await expect(page.file("a (1).bin")).to_be_visible()
                second.kill()


@pytest.mark.parametrize("count", [10, 60])
async def test_no_failure_is_lost_among_many_transfers(page, served, tmp_path, count):
    """However many there are: each of them is in sight, and one line sums all of them up."""
    names = [f"{number:02}.bin" for number in range(100)]
    for name in names[:count]:
        (served.root / name).write_bytes(b"old")
    await page.choose(*(made(tmp_path / name, 0) for name in names))
    await expect(page.locator("#summary")).to_contain_text(f"{100 - count} uploaded, {count} failed", timeout=30_000)
    await expect(page.locator("#summary")).to_be_visible()
    await expect(page.locator("#failed .job")).to_have_count(count)
    assert sorted(await page.locator("#failed .name").all_inner_texts()) == names[:count]
    await expect(page.locator("#ended .failed")).to_have_count(0)
    await click(failed(page, names[0]), "Dismiss")
    await expect(page.locator("#failed .job")).to_have_count(count - 1)
    await expect(failed(page, names[0])).to_have_count(0)


@SIZES
@pytest.mark.parametrize("name", [".hidden", "a\\b.bin"])
async def test_a_refused_name_is_shown_as_it_was_chosen(page, served, tmp_path, name, size):
    """Whatever the server calls it, or that it does not know it by any name."""
    await page.choose(made(tmp_path / name, size))
    await expect(page.locator("#failed .facts")).to_contain_text("A file name")
    await expect(page.locator("#failed .name")).to_have_text(name)
    await expect(page.get_by_text("(no name yet)")).to_have_count(0)
    assert served.files() == []


@SIZES
async def test_a_file_that_is_refused_unread_has_its_name(browsing, root, tmp_path, size):
    """The server looked at no more than its length."""
    async with running(root, "--max-file-size", "1MiB") as served, browsing(served.url) as page:
        await page.choose(made(tmp_path / "large.bin", size))
        await expect(page.locator("#failed .name")).to_have_text("large.bin")
        await expect(page.locator("#failed .facts")).to_contain_text("A file may have")
        await expect(page.get_by_text("(no name yet)")).to_have_count(0)


async def test_a_failure_fits_a_phone_and_can_be_used_by_everybody(browsing, served, tmp_path):
    """Nothing beside the screen, nothing too small for a finger, nothing that axe finds; the keyboard does it, too."""
    name = "a very long name " * 12 + ".txt"
    (served.root / name).write_bytes(b"old")
    async with browsing(served.url, viewport=pages.PHONE, has_touch=True, bypass_csp=True) as page:
        await page.choose(made(tmp_path / name, 0))
        row = await see_failed(page, name, "already", "Try again", "Keep both", "Replace")
        assert await page.evaluate("document.documentElement.scrollWidth") <= pages.PHONE["width"]
        for button in await row.get_by_role("button").all():
            box = await button.bounding_box()
            assert box["height"] >= 40
            assert 0 <= box["x"] <= box["x"] + box["width"] <= pages.PHONE["width"]
        await expect(row.get_by_role("button", name=name)).to_have_count(4)  # each says whose it is
        found = await Axe().run(page.page)
        assert found.violations_count == 0, found.generate_report()
        await expect(page.locator("#announcements")).to_contain_text("Failed")
        await row.get_by_role("button", name="Dismiss").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#failed .job")).to_have_count(0)
