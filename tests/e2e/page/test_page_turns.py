"""The page's queue, in a real browser: who waits for whom; and the names that go through it."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from e2e.conftest import running
from e2e.page import test_page as pages

MIB = 1024 * 1024

#: From here on an upload of the page is resumable.
LARGE = 8 * MIB

#: Too long, at the speed of these tests, for anything to end by itself.
LONG = 24 * MIB

browser, browsing = pages.browser, pages.browsing

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def slow(root):
    """A server that takes 24 s for 24 MiB."""
    async with running(root, "--total-rate", "1MiB") as server:
        yield server
        server.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def quick(root):
    async with running(root) as server:
        yield server
        server.kill()


def made(path, size):
    path.write_bytes(os.urandom(MIB) * (size // MIB) or b"small")
    return path


async def pause(row):
    await row.get_by_role("button", name="Pause").click()
    await expect(row.locator(".state")).to_have_text("Paused")


async def pause_from_a_shell(served, row):
    as_json = ("-X", "PATCH", "-H", "Content-Type: application/json", "-d", '{"state": "paused"}')
    async with pages.curling(*as_json, f"{served.url}/jobs/{await row.get_attribute('data-id')}") as process:
        await process.communicate()
    await expect(row.locator(".state")).to_have_text("Paused")


@pytest.mark.parametrize("size", [LONG, 6 * MIB], ids=["resumable", "form"])
@pytest.mark.parametrize("how", ["here", "by curl"])
async def test_a_paused_upload_gives_its_turn_to_the_next(browsing, slow, tmp_path, size, how):
    """However it was paused: what waits behind it is sent; and it goes on when it is let."""
    held = [made(tmp_path / f"{number}.bin", size) for number in range(2)]
    async with browsing(slow.url) as page:
        await page.choose(*held)
        await expect(page.locator("#live .running")).to_have_count(2)
        await page.choose(made(tmp_path / "small.txt", 0), made(tmp_path / "smaller.txt", 0))
        await expect(page.locator("#live .waiting")).to_have_count(2)
        for path in held:
            await (pause(page.live(path.name)) if how == "here" else pause_from_a_shell(slow, page.live(path.name)))
        for name in ("small.txt", "smaller.txt"):
            await expect(page.file(name)).to_be_visible()
            assert (slow.root / name).read_bytes() == b"small"
        await expect(page.locator("#live .paused")).to_have_count(2)
        for path in held:
            await page.live(path.name).get_by_role("button", name="Resume").click()
            await expect(page.live(path.name).locator(".state")).to_have_text("Uploading")


async def test_a_paused_export_gives_its_turn_to_the_next(browsing, slow, tmp_path):
    """What waits behind two paused exports arrives; and they go on when they are let."""
    slow.root.mkdir(exist_ok=True)
    for number in range(2):
        made(slow.root / f"{number}.bin", LONG)
    made(slow.root / "small.txt", 0)
    async with browsing(slow.url) as page:
        for number in range(2):
            await page.get_by_role("button", name=f"Export {number}.bin").click()
            await pause(page.live(f"{number}.bin"))
        small = page.expect_download(lambda download: download.suggested_filename == "small.txt", timeout=15_000)
        async with small as waiting:
            await page.get_by_role("button", name="Export small.txt").click()
        assert pages.digest(Path(await (await waiting.value).path())) == pages.digest(slow.root / "small.txt")
        for number in range(2):
            await page.live(f"{number}.bin").get_by_role("button", name="Resume").click()
            await expect(page.live(f"{number}.bin").locator(".state")).to_have_text("Exporting")


async def test_what_gave_up_its_turn_arrives_whole(browsing, root, tmp_path):
    """Two are paused, a third overtakes them, and then all three are there to the last byte."""
    paths = [made(tmp_path / f"{number}.bin", size) for number, size in enumerate((9 * MIB, 7 * MIB, 2 * MIB))]
    async with running(root, "--total-rate", "5MiB") as served, browsing(served.url) as page:
        await page.choose(*paths[:2])
        for number in range(2):
            await pause(page.live(f"{number}.bin"))
        await page.choose(paths[2])
        await expect(page.file("2.bin")).to_be_visible()
        for number in range(2):
            await page.live(f"{number}.bin").get_by_role("button", name="Resume").click()
        for path in paths:
            await expect(page.file(path.name)).to_be_visible()
            assert pages.digest(root / path.name) == pages.digest(path)


async def test_whatever_is_paused_can_be_resumed(browsing, slow, tmp_path):
    """A browser has few connections to one server: those that are paused never take the one that lets them go on."""
    paths = [made(tmp_path / "0.bin", LONG)]
    paths += [shutil.copy(paths[0], tmp_path / f"{number}.bin") for number in range(1, 7)]
    async with browsing(slow.url) as page:
        await page.choose(*paths)
        running_ones = page.locator("#live .running")
        for paused in range(len(paths)):
            try:
                await expect(running_ones).not_to_have_count(0, timeout=20_000 if paused < 3 else 3_000)
            except AssertionError:  # a page may keep some of them waiting, but not all
                assert paused >= 3, "no other had its turn"
                break
            await pause(page.live(await running_ones.first.locator(".name").inner_text()))
        first = page.live(await page.locator("#live .paused .name").first.inner_text())
        await first.get_by_role("button", name="Resume").click()
        await expect(first.locator(".state")).to_have_text("Uploading")


@pytest.mark.parametrize("name", ['q"x.bin', 'a; filename="b".bin'])
async def test_a_name_is_the_same_whatever_the_size_of_its_file(browsing, quick, tmp_path, name):
    """It is stored, shown and exported as it was chosen, letter by letter; a small file may replace a large one."""
    async with browsing(quick.url) as page:
        for size in (9 * MIB, MIB, 0):
            path = made(tmp_path / name, size)
            await page.choose(path)
            await expect(page.locator("#files .name")).to_have_text([name])
            await page.see_ended()
            await expect(page.ended(name).first).to_be_visible()
            assert quick.files() == [name]
            async with page.expect_download() as waiting:
                await page.get_by_role("button", name=f"Export {name}").click()
            assert pages.digest(Path(await (await waiting.value).path())) == pages.digest(path)
            page.once("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
            await page.get_by_role("button", name=f"Delete {name}").click()
            await expect(page.locator("#no-files")).to_be_visible()
            assert quick.files() == []


@pytest.mark.parametrize("size", [0, 7 * MIB], ids=["small", "larger"])
async def test_names_that_forms_write_alike_are_different_files(browsing, quick, tmp_path, size):
    """A quote and what a form makes of it are not the same, and nothing else that looks escaped is changed."""
    names = ["100%41+.bin", "a%0D%0Ab.bin", 'q"x.bin', "q%22x.bin"]
    async with browsing(quick.url) as page:
        await page.choose(*(made(tmp_path / name, size) for name in names))
        await expect(page.locator("#files .name")).to_have_text(names)
        assert quick.files() == names
        for name in names:
            assert pages.digest(quick.root / name) == pages.digest(tmp_path / name)


@pytest.mark.parametrize("size", [MIB, 9 * MIB], ids=["small", "large"])
async def test_a_name_that_cannot_be_is_not_stored_under_another(browsing, quick, tmp_path, size):
    """A form would write a line's end in some other way."""
    async with browsing(quick.url) as page:
        await page.choose(made(tmp_path / "a\nb.bin", size))
        await expect(page.locator("#failed .facts")).to_contain_text("A file name may not hold control characters")
        assert quick.files() == []
