"""The page in a real browser: its own transfers and those begun elsewhere, watched, held, slowed and ended.

A test that fails leaves a screenshot in its temporary directory, and says where.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import async_playwright, expect

from e2e.conftest import QUIET, running
from headgate.web.middleware.tokens import new_token
from support import eventually, require

MIB = 1024 * 1024
SIZE = 24 * MIB
PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=20_000)

#: One loop for all tests: a browser belongs to the loop that started it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Page:
    """An open page, with words for what people do there."""

    def __init__(self, page, context):
        self.page = page
        self.context = context
        self.errors = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if "Content Security Policy" in message.text else None,
        )

    def __getattr__(self, name):
        return getattr(self.page, name)

    def live(self, name):
        """The transfer of the file `name` that runs."""
        return self.page.locator("#live .job").filter(has=self.page.get_by_text(name, exact=True))

    def ended(self, name):
        return self.page.locator("#ended .job").filter(has=self.page.get_by_text(name, exact=True))

    def failed(self, name):
        """The transfer of the file `name`, which has failed and was not dismissed."""
        return self.page.locator("#failed .job").filter(has=self.page.get_by_text(name, exact=True))

    def file(self, name):
        return self.page.locator("#files .file").filter(has=self.page.get_by_text(name, exact=True))

    async def choose(self, *paths):
        await self.page.set_input_files("#files-input", [str(path) for path in paths])

    async def see_ended(self):
        if not await self.page.locator("#ended-box").evaluate("box => box.open"):
            await self.page.locator("#ended-box summary").click()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """One for all: each test has a context of its own, which shares nothing with the others."""
    require("chromium", shutil.which("chromium") is not None)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*QUIET])
        yield browser
        await browser.close()


@pytest.fixture
def browsing(request, browser, tmp_path):
    """Opens the page at a URL, in a context of its own."""

    @asynccontextmanager
    async def browsing(url, **options):
        context = await browser.new_context(**({"viewport": {"width": 1000, "height": 800}} | options))
        page = Page(await context.new_page(), context)
        await page.goto(url + "/")
        try:
            yield page
        except BaseException:
            shot = tmp_path / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name)}.png"
            await page.screenshot(path=shot, full_page=True)
            print(f"a screenshot: {shot}")  # pytest shows it with the failure
            raise
        finally:
            await context.close()
        assert page.errors == []

    return browsing


@pytest_asyncio.fixture(loop_scope="module")
async def served(root):
    """A server that is slow enough for people: 8 MiB a second, for all together."""
    async with running(root, "--total-rate", "8MiB") as server:
        yield server
        server.kill()  # it would see its clients off, in seconds


@pytest_asyncio.fixture(loop_scope="module")
async def page(browsing, served):
    async with browsing(served.url) as page:
        await expect(page.locator("#signed-in")).to_be_visible()
        yield page


@pytest.fixture
def big(tmp_path):
    """A file that takes some seconds."""
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(MIB) * (SIZE // MIB))
    return path


@pytest.fixture
def small(tmp_path):
    """A file that takes a second, and one request."""
    path = tmp_path / "small.bin"
    path.write_bytes(os.urandom(4 * MIB))
    return path


@asynccontextmanager
async def curling(*arguments):
    """A curl that runs by itself, beside the page."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--max-time", "120", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def jobs(served):
    async with curling(f"{served.url}/jobs") as process:
        return json.loads((await process.communicate())[0])["jobs"]


async def test_files_are_uploaded_listed_exported_and_deleted(page, served, tmp_path):
    """What one puts in is what one gets out; a deleted file is gone, and only after a question."""
    for name in ("a.txt", "ä & <b>.txt"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    await page.choose(tmp_path / "a.txt", tmp_path / "ä & <b>.txt")
    for name in ("a.txt", "ä & <b>.txt"):
        await expect(page.file(name)).to_be_visible()
        async with page.expect_download() as waiting:
            await page.get_by_role("button", name=f"Export {name}").click()
        download = await waiting.value
        await download.save_as(tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == name.encode() * 1000
    await page.see_ended()
    await expect(page.ended("a.txt")).to_have_count(2)  # the upload, and the export
    await expect(page.ended("a.txt").locator(".state").first).to_have_text("Completed")
    answers = []
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept() if answers else dialog.dismiss()))
    await page.get_by_role("button", name="Delete a.txt").click()
    await expect(page.file("a.txt")).to_be_visible()
    answers.append(True)
    await page.get_by_role("button", name="Delete a.txt").click()
    await expect(page.file("a.txt")).to_have_count(0)
    assert served.files() == ["ä & <b>.txt"]


@pytest.mark.parametrize("kind", ["upload", "export"])
@pytest.mark.parametrize("begun", ["here", "by curl"])
async def test_a_transfer_is_held_let_go_slowed_and_completed(page, served, big, tmp_path, kind, begun):
    """The page's own, and those begun elsewhere: both directions alike; and at the end all bytes are there."""
    if kind == "export":
        shutil.copy(big, served.root)
        await page.reload()
    async with (
        curling(
            *(("-F", f"file=@{big}", f"{served.url}/upload") if kind == "upload" else ()),
            *(
                ("-d", "filename=big.bin", "-o", str(tmp_path / "got"), f"{served.url}/export")
                if kind == "export"
                else ()
            ),
        )
        if begun == "by curl"
        else curling("--version") as process
    ):
        downloading = None
        if begun == "here" and kind == "upload":
            await page.choose(big)
        elif begun == "here":
            downloading = asyncio.create_task(page.wait_for_event("download"))
            await page.get_by_role("button", name="Export big.bin").click()
        row = page.live("big.bin")
        await expect(row.locator(".state")).to_have_text("Uploading" if kind == "upload" else "Exporting")
        await expect(row.locator(".facts")).to_contain_text(re.compile(r"MiB of 24.0 MiB · .*/s · \d+ s left"))
        await row.get_by_role("button", name="Pause").click()
        await expect(row.locator(".state")).to_have_text("Paused")
        (job,) = [job for job in await jobs(served) if job["state"] == "paused"]
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.5)
        (again,) = [job for job in await jobs(served) if job["state"] == "paused"]
        assert again["bytes_done"] == job["bytes_done"] < SIZE
        slider = row.get_by_role("slider")
        await slider.fill("20")  # 2 MiB/s
        await expect(row.locator("output")).to_have_text("2.0 MiB/s")
        await row.get_by_role("button", name="Resume").click()
        await expect(row.locator(".facts")).to_contain_text(re.compile(r" (1\.9|2\.0|2\.1) MiB/s"))
        await slider.fill("45")
        await expect(row.locator("output")).to_have_text("none")
        await page.see_ended()
        await expect(page.ended("big.bin").locator(".state")).to_have_text("Completed", timeout=60_000)
        if kind == "upload":
            await expect(page.file("big.bin")).to_be_visible()
            whole = served.root / "big.bin"
        elif begun == "here":
            whole = Path(await (await downloading).path())
        else:
            assert await process.wait() == 0
            whole = tmp_path / "got"
        assert digest(whole) == digest(big)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["upload", "export"])
async def test_a_transfer_is_terminated(page, served, big, kind):
    """By a click: nothing of it is left, and it is shown as what it is; the next of the same name begins afresh."""
    if kind == "export":
        shutil.copy(big, served.root)
        await page.reload()
        await page.get_by_role("button", name="Export big.bin").click()
    else:
        await page.choose(big)
    row = page.live("big.bin")
    await row.get_by_role("button", name="Pause").click()
    await expect(row.locator(".state")).to_have_text("Paused")
    await row.get_by_role("button", name="Terminate").click()
    await page.see_ended()
    await expect(page.ended("big.bin").locator(".state")).to_have_text("Terminated by anonymous")
    await expect(page.locator("#live .job")).to_have_count(0)
    assert served.files() == (["big.bin"] if kind == "export" else [])


async def test_what_others_do_to_a_transfer_is_seen(page, served, big):
    """Paused, slowed and terminated from a shell: the page shows it while it happens."""
    await page.choose(big)
    row = page.live("big.bin")
    await expect(row.locator(".state")).to_have_text("Uploading")
    (job,) = await jobs(served)

    async def call(*arguments):
        async with curling(*arguments, f"{served.url}/jobs/{job['id']}") as process:
            await process.communicate()

    as_json = ("-X", "PATCH", "-H", "Content-Type: application/json", "-d")
    await call(*as_json, '{"rate": 1048576}')
    await expect(row.locator("output")).to_have_text("1.0 MiB/s")
    await call(*as_json, '{"state": "paused"}')
    await expect(row.locator(".state")).to_have_text("Paused")
    await call("-X", "DELETE")
    await page.see_ended()
    await expect(page.ended("big.bin").locator(".state")).to_have_text("Terminated by anonymous")
    await expect(page.ended("big.bin").locator(".facts")).to_contain_text("othing of it is kept")


async def test_a_refusal_is_shown_in_words(page, served, tmp_path):
    """A name that is taken, unless one says what then; and a name that cannot be."""
    (tmp_path / "a.txt").write_bytes(b"one")
    await page.choose(tmp_path / "a.txt")
    await expect(page.file("a.txt")).to_be_visible()
    await page.choose(tmp_path / "a.txt")
    failed = page.locator("#failed .failed")
    await expect(failed.locator(".facts")).to_contain_text("There is a file called 'a.txt' already.")
    await page.select_option("#on-conflict", "rename")
    await page.choose(tmp_path / "a.txt")
    await expect(page.file("a (1).txt")).to_be_visible()
    (tmp_path / ".hidden").write_bytes(b"")
    await page.choose(tmp_path / ".hidden")
    await expect(failed.locator(".facts").first).to_contain_text("may not begin with a dot")
    (served.root / "a.txt").unlink()
    await page.get_by_role("button", name="Export a.txt").click()
    await expect(failed.locator(".facts").first).to_contain_text("There is no file called 'a.txt'.")


async def test_many_files_wait_their_turn_and_can_be_taken_back(page, served, big, tmp_path):
    """Two at a time, so that a connection is left to control them with; a folder counts as its files."""
    folder = tmp_path / "folder" / "below"
    folder.mkdir(parents=True)
    for number in range(3):
        shutil.copy(big, folder / f"{number}.bin")
    await page.set_input_files("#folder-input", str(tmp_path / "folder"))
    await expect(page.locator("#live .job")).to_have_count(3)
    await expect(page.locator("#live .waiting")).to_have_count(1)
    await expect(page.locator("#live .running")).to_have_count(2)
    await page.locator("#live .waiting").get_by_role("button", name="Terminate").click()
    await expect(page.locator("#live .job")).to_have_count(2)
    for number in range(2):
        await page.locator("#live .job").nth(number).get_by_role("button", name="Pause").click()
    await expect(page.locator("#live .paused")).to_have_count(2)
    for count in (1, 0):
        await page.locator("#live .paused").first.get_by_role("button", name="Terminate").click()
        await expect(page.locator("#live .job")).to_have_count(count)
    assert served.files() == []


async def test_files_can_be_dropped(page, served):
    """Anywhere on the page."""
    await page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["dropped"], "dropped.txt"));
            for (const type of ["dragover", "drop"])
                document.body.dispatchEvent(
                    new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }"""
    )
    await expect(page.file("dropped.txt")).to_be_visible()
    assert (served.root / "dropped.txt").read_bytes() == b"dropped"


async def test_one_signs_in_with_a_token_and_sees_ones_own(browsing, root, tmp_path, big):
    """A wrong token is refused in words; the right one is kept from scripts; signing out ends it."""
    tokens = tmp_path / "tokens"
    (alice, alices), (bob, bobs) = new_token("alice"), new_token("bob")
    tokens.write_text(f"{alices}\n{bobs}\n")
    async with (
        running(root, "--tokens", str(tokens), "--total-rate", "8MiB") as served,
        browsing(served.url) as page,
        curling("-H", f"Authorization: Bearer {bob}", "-F", f"file=@{big};filename=bobs", f"{served.url}/upload"),
    ):
        await expect(page.locator("#signed-in")).to_be_hidden()
        await page.get_by_label("Token").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_have_text("This token is not valid.")
        await page.get_by_label("Token").fill(alice)
        await page.keyboard.press("Enter")
        await expect(page.locator("#who")).to_contain_text("alice")
        await expect(page.locator("#sign-in")).to_be_hidden()
        assert await page.evaluate("document.cookie") == ""
        async with curling("-H", f"Authorization: Bearer {alice}", "-F", f"file=@{big}", f"{served.url}/upload"):
            await expect(page.live("big.bin")).to_be_visible()
            await expect(page.live("bobs")).to_have_count(0)
            await page.reload()
            await expect(page.live("big.bin")).to_be_visible()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_label("Token")).to_be_focused()
            await expect(page.locator(".job")).to_have_count(0)


async def test_whoever_signs_out_takes_their_transfers_along(browsing, root, tmp_path, big):
    """Neither what is sent nor what waits goes on under the next one's name, and the next one's own are not held up."""
    (alice, alices), (bob, bobs) = new_token("alice"), new_token("bob")
    (tmp_path / "tokens").write_text(f"{alices}\n{bobs}\n")
    paths = [shutil.copy(big, tmp_path / f"{number}.bin") for number in range(4)]
    async with (
        running(root, "--tokens", str(tmp_path / "tokens"), "--total-rate", "8MiB") as served,
        browsing(served.url) as page,
    ):
        for token in (alice, bob):
            await page.get_by_label("Token").fill(token)
            await page.keyboard.press("Enter")
            await expect(page.locator("#signed-in")).to_be_visible()
            if token is alice:
                await page.choose(*paths)
                await expect(page.locator("#live .running")).to_have_count(2)
                await expect(page.locator("#live .waiting")).to_have_count(2)
                await page.get_by_role("button", name="Sign out").click()
        await page.choose(paths[0])
        await expect(page.file("0.bin")).to_be_visible()
        assert [name for name in served.files() if not name.startswith(".staging/")] == ["0.bin"]


async def test_an_export_that_never_arrives_holds_up_no_other(page, served):
    """Its connection broke before the server knew of it."""
    (served.root / "a.txt").write_bytes(b"a")
    await page.reload()
    await page.route("**/export", lambda route: route.abort())
    for count in (1, 2, 3):
        await page.get_by_role("button", name="Export a.txt").click()
        await expect(page.locator("#failed .failed")).to_have_count(count)
    await page.unroute("**/export")
    async with page.expect_download():
        await page.get_by_role("button", name="Export a.txt").click()
    await page.see_ended()
    await expect(page.locator("#ended .completed")).to_have_count(1)


async def test_what_is_older_than_what_is_shown_is_not_shown(page):
    """Answers and events come over several connections, in any order."""
    states = await page.evaluate(
        """async () => {
            const { JobList } = await import("./static/jobs.js");
            const nothing = () => {};
            const list = new JobList({ say: nothing, complain: nothing, onEnded: nothing });
            const job = { kind: "upload", names: ["x"], bytes_done: 1, bytes_total: 1, rate: 0, eta: null };
            const seen = [];
            const tell = (id, state, updated_at) => {
                list.update({ ...job, id, state, updated_at });
                seen.push(list.rows.get(id).job.state);
            };
            tell("a", "running", "2");
            tell("a", "completed", "4");
            tell("a", "running", "3");
            list.updateLocally("c", { ...job, state: "failed", detail: "in words" });
            tell("c", "running", "1");
            tell("c", "failed", "2");
            seen.push(list.rows.get("c").job.detail);
            tell("b", "running", "2");
            const ended = (number) => ({ ...job, id: `e${number}`, state: "completed", updated_at: "9" });
            const others = [...Array(60).keys()].map(ended);
            list.replaceAll([...others, { ...job, id: "b", state: "failed", updated_at: "3" }]);
            seen.push(list.isLive("b"));
            list.clear();
            return seen;
        }"""
    )
    assert states == ["running", "completed", "completed", "failed", "failed", "in words", "running", False]


@pytest.mark.parametrize("how", [15, 9], ids=["stopped", "killed"])
async def test_a_restart_is_survived(browsing, root, big, small, how):
    """The page says so while the server is away, comes back by itself, and its large upload goes on where it was; of a
    small one it shows what has become of it."""
    slow = ("--total-rate", "4MiB", "--drain-timeout", "0")
    async with running(root, *slow) as first:
        port = first.url.rpartition(":")[2]
        async with browsing(first.url) as page:
            await page.choose(big, small)
            for name in ("big.bin", "small.bin"):
                await expect(page.live(name).locator(".state")).to_have_text("Uploading")
            await first.stop(how)
            await expect(page.locator("#connection")).to_contain_text("Connection lost")
            await expect(page.failed("small.bin").locator(".state")).to_have_text("Failed")
            (root / "meanwhile.txt").write_bytes(b"x")
            async with running(root, "--port", port) as second:
                await expect(page.locator("#connection")).to_have_text("", timeout=30_000)
                await expect(page.file("meanwhile.txt")).to_be_visible()
                await expect(page.failed("small.bin").locator(".facts")).to_contain_text(
                    re.compile("connection to the server was lost|shutting down")
                )
                await expect(page.file("big.bin")).to_be_visible(timeout=30_000)
                await page.see_ended()
                await expect(page.ended("big.bin").locator(".state")).to_have_text("Completed")
                assert second.files() == ["big.bin", "meanwhile.txt"]
                assert digest(root / "big.bin") == digest(big)


async def test_after_a_reload_an_upload_goes_on_when_its_file_is_chosen_again(browsing, served, big):
    """It is shown as interrupted, and what to do; it is the same job, and no byte is sent again that the server has."""
    async with browsing(served.url) as page:
        await page.choose(big)
        await expect(page.live("big.bin").locator(".state")).to_have_text("Uploading")
        (job,) = await jobs(served)
        await page.reload()
        await expect(page.live("big.bin").locator(".state")).to_have_text("Interrupted")
        await expect(page.live("big.bin").locator(".facts")).to_contain_text("choose the file again to go on")
        (before,) = await jobs(served)
        assert (before["id"], before["state"]) == (job["id"], "interrupted")
        offsets = []
        page.on("request", lambda request: offsets.append(request.headers.get("upload-offset")))
        await page.choose(big)
        await expect(page.file("big.bin")).to_be_visible(timeout=30_000)
        assert [int(offset) for offset in offsets if offset is not None] == [before["bytes_done"]]
        assert digest(served.root / "big.bin") == digest(big)
        assert [each["id"] for each in await jobs(served)] == [job["id"]]
        await page.choose(big)  # once more: it is another upload
        await expect(page.failed("big.bin").locator(".state")).to_have_text("Failed")
        assert len(await jobs(served)) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_can_be_used_by_everybody(browsing, served, big, scheme):
    """Nothing beside the screen, nothing too small for a finger, nothing that axe finds; light and dark."""
    (served.root / ("a very long name " * 12 + ".txt")).write_bytes(b"x")
    async with browsing(served.url, viewport=PHONE, color_scheme=scheme, has_touch=True, bypass_csp=True) as page:
        await page.choose(big)
        await expect(page.live("big.bin").locator(".state")).to_have_text("Uploading")
        await page.live("big.bin").get_by_role("button", name="Pause").tap()
        await expect(page.live("big.bin").locator(".state")).to_have_text("Paused")
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for button in await page.get_by_role("button").all():
            if await button.is_visible():
                box = await button.bounding_box()
                assert box["height"] >= 40
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= PHONE["width"]
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 300) == (scheme == "dark")
        found = await Axe().run(page.page)
        assert found.violations_count == 0, found.generate_report()
        await page.live("big.bin").get_by_role("button", name="Terminate").tap()
        await page.see_ended()
        await expect(page.ended("big.bin")).to_be_visible()
        found = await Axe().run(page.page)
        assert found.violations_count == 0, found.generate_report()


async def test_the_keyboard_does_all_of_it(page, served, big):
    """Tab, Enter and arrows; what has the focus keeps it while the numbers change; and changes are read out."""
    await page.choose(big)
    row = page.live("big.bin")
    await expect(row.locator(".state")).to_have_text("Uploading")
    await page.locator("#on-conflict").focus()
    await page.keyboard.press("Tab")
    await expect(row.get_by_role("button", name="Pause big.bin")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#announcements")).to_contain_text("big.bin: Paused")
    await expect(row.get_by_role("button", name="Resume big.bin")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    slider = row.get_by_role("slider", name="Limit of big.bin")
    await expect(slider).to_be_focused()
    for _ in range(5):
        await page.keyboard.press("ArrowLeft")
    await expect(slider).to_have_attribute("aria-valuetext", "64.0 MiB/s")
    await eventually_limited(served, 64 * MIB)
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#announcements")).to_contain_text("big.bin: Terminated by anonymous")
    await expect(page.locator("#transfers-title")).to_be_focused()


async def eventually_limited(served, limit):
    for _ in range(200):
        if (await jobs(served))[0]["limit"] == limit:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the limit never came")


async def test_a_name_is_text_wherever_it_is_shown(page, served):
    """A file that is called like markup is no markup."""
    name = "<img src=x onerror=document.title='pwned'>.txt"
    async with curling("-F", f'file=@/dev/null;filename="{name}"', f"{served.url}/upload") as process:
        await process.communicate()
    await expect(page.file(name)).to_be_visible()
    await page.see_ended()
    await expect(page.ended(name)).to_be_visible()
    assert await page.title() == "headgate"
