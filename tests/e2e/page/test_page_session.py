"""The page, in a real browser, when the session ends: the user is told why they have to sign in."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from e2e.conftest import running
from e2e.page import test_page as pages
from headgate.web.middleware.tokens import new_token

MIB = 1024 * 1024

SIGNED_OUT = re.compile("signed out, because", re.IGNORECASE)

browser, browsing = pages.browser, pages.browsing

pytestmark = pytest.mark.asyncio(loop_scope="module")


def written(path, *users):
    """The tokens file `path` with these users; the first one's token."""
    tokens = [new_token(user) for user in users]
    path.write_text("".join(f"{line}\n" for _, line in tokens))
    return tokens[0][0]


async def sign_in(page, token):
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#signed-in")).to_be_visible()


def told(page):
    """What is said of it."""
    return page.locator("#problem, #signed-out").filter(has_text=SIGNED_OUT)


async def see_signed_out(page):
    await expect(told(page)).to_have_count(1)
    await expect(told(page)).to_be_visible()
    await expect(page.get_by_label("Token")).to_be_visible()
    await expect(page.locator("#signed-in")).to_be_hidden()


@pytest.mark.parametrize("what", ["delete", "small upload", "large upload", "export", "pause"])
async def test_whoever_is_not_known_any_more_is_told_why(browsing, root, tmp_path, what):
    """Whatever it was that one wanted to do then; and it is said no longer than it is true."""
    token = written(tmp_path / "tokens", "alice")
    root.mkdir()
    (root / "a.txt").write_bytes(b"a" * MIB * 8)
    (tmp_path / "b.bin").write_bytes(b"b" * MIB * (9 if what == "large upload" else 2))
    async with (
        running(root, "--tokens", str(tmp_path / "tokens"), "--total-rate", "1MiB") as served,
        browsing(served.url) as page,
    ):
        await expect(page.get_by_label("Token")).to_be_visible()
        await expect(page.get_by_text(SIGNED_OUT)).to_have_count(0)  # whoever comes for the first time was not
        await sign_in(page, token)
        await expect(page.file("a.txt")).to_be_visible()
        if what == "pause":
            await page.choose(tmp_path / "b.bin")
            await expect(page.live("b.bin").locator(".state")).to_have_text("Uploading")
        await page.context.clear_cookies()
        if what == "delete":
            page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
            await page.get_by_role("button", name="Delete a.txt").click()
        elif what == "export":
            await page.get_by_role("button", name="Export a.txt").click()
        elif what == "pause":
            await page.live("b.bin").get_by_role("button", name="Pause").click()
        else:
            await page.choose(tmp_path / "b.bin")
        await see_signed_out(page)
        await sign_in(page, token)
        await expect(told(page).locator("visible=true")).to_have_count(0)


async def test_whoever_only_looks_on_is_told_why(browsing, root, tmp_path):
    """The server came back without one's token: nothing was clicked."""
    tokens = tmp_path / "tokens"
    token = written(tokens, "alice", "bob")
    async with running(root, "--tokens", str(tokens)) as first:
        port = first.url.rpartition(":")[2]
        async with browsing(first.url) as page:
            await sign_in(page, token)
            await first.stop()
            written(tokens, "bob")
            async with running(root, "--tokens", str(tokens), "--port", port) as second:
                await see_signed_out(page)
                second.kill()


async def test_whoever_signs_out_is_not_told_why_and_leaves_nothing(browsing, root, tmp_path):
    """They know; and what failed is not the next one's to see."""
    token = written(tmp_path / "tokens", "alice")
    (tmp_path / ".hidden").write_bytes(b"")
    async with running(root, "--tokens", str(tmp_path / "tokens")) as served, browsing(served.url) as page:
        await sign_in(page, token)
        await page.choose(tmp_path / ".hidden")
        await expect(page.locator("#failed .job")).to_have_count(1)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("Token")).to_be_focused()
        await expect(page.locator(".job")).to_have_count(0)
        await expect(page.locator("#summary")).to_be_hidden()
        await expect(page.get_by_text(SIGNED_OUT).locator("visible=true")).to_have_count(0)
        served.kill()
