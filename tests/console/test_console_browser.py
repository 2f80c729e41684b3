"""The console as a browser runs it, where one is installed: its policy holds, keys work, nothing is too wide.

Chromium is the system's, driven by playwright, which is not in the lock: `pip install playwright`, and the package
chromium of the distribution.
"""

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest
import uvicorn
from consolescene import PAGES, TOKEN, evil_everywhere, something_of_everything
from scene import Clock, Scene

from bridge.console.access import LOOPBACK, Access
from bridge.console.app import Console
from bridge.guard import Policy
from bridge.settings import load_settings
from bridge.store import Store
from bridge.store.intake import Intake

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
NARROW, WIDE = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


async def serve(
    redis_url: str, listening: socket.socket, done: asyncio.Event, seeded: threading.Event, evil: bool
) -> None:
    """A console over a scene, until it is done."""
    clock = Clock()
    async with Store.open(redis_url, clock=clock) as store:
        policy = Policy(allow_networks=[ip_network("127.0.0.0/8")], allow_http=True)
        scene = Scene(store, clock, Intake(store, policy, has_default_secret=True))
        await (evil_everywhere(scene) if evil else something_of_everything(scene))
        seeded.set()
        app = Console(store, load_settings(), Access(TOKEN, LOOPBACK)).application()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve([listening]))
        await done.wait()
        server.should_exit = True
        await serving


@contextmanager
def served(redis_url: str, *, evil: bool = False) -> Iterator[str]:
    """The address of a console on a thread of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    loop, seeded = asyncio.new_event_loop(), threading.Event()
    done = asyncio.Event()
    work = serve(redis_url, listening, done, seeded, evil)
    thread = threading.Thread(target=lambda: loop.run_until_complete(work))
    thread.start()
    try:
        assert seeded.wait(30)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        loop.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def page_of(chromium: Any, viewport: dict[str, int] = WIDE, scheme: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """A page, and all that went wrong on it."""
    context = chromium.new_context(viewport=viewport, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def hear(dialog: Any) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", hear)
    try:
        yield page, wrong
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_no_page_is_wider_than_its_window_or_breaks_its_policy(
    redis_url: str, chromium: Any, viewport: dict[str, int], scheme: str
) -> None:
    """In both schemes; and text can be told from its ground."""
    with served(redis_url) as url, page_of(chromium, viewport, scheme) as (page, wrong):
        for path in PAGES:
            page.goto(url + path)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, ground[4:-1].split(",")[:3])) < 384) == (scheme == "dark")
        assert wrong == []


def test_nothing_that_anybody_said_runs(redis_url: str, chromium: Any) -> None:
    """In a real browser, drawers included: no dialog, and no violation of the policy, as nothing tried."""
    with served(redis_url, evil=True) as url, page_of(chromium) as (page, wrong):
        for path in PAGES:
            page.goto(url + path)
        page.goto(f"{url}/deliveries")
        for index in range(page.locator("#main a.row").count()):
            page.locator("#main a.row").nth(index).click()
            page.wait_for_selector("#drawer .attempts, #drawer .failed")
            page.keyboard.press("Escape")
        assert wrong == []


def test_the_keyboard_goes_everywhere(redis_url: str, chromium: Any) -> None:
    """j and k go from row to row, Enter opens, Escape goes back, / finds; Tab begins with a way past the menu."""
    with served(redis_url) as url, page_of(chromium) as (page, wrong):
        page.goto(f"{url}/deliveries")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        for key in ("j", "j", "k", "j", "Enter"):
            page.keyboard.press(key)
        page.wait_for_selector("#drawer .attempts")
        assert page.evaluate("'close' in document.activeElement.dataset")
        page.keyboard.press("Escape")
        rows = "[...document.querySelectorAll('a.row')].indexOf(document.activeElement)"
        assert (page.inner_html("#drawer"), page.evaluate(rows)) == ("", 1)
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "task"
        assert wrong == []


def test_dead_letters_are_sent_again_in_bulk(redis_url: str, chromium: Any) -> None:
    """Unlocked by the token: all are chosen, sent, and no longer dead."""
    with served(redis_url) as url, page_of(chromium) as (page, wrong):
        page.goto(f"{url}/unlock")
        page.fill("input[name=token]", TOKEN)
        page.press("input[name=token]", "Enter")
        page.wait_for_selector("text=May send again")
        page.goto(f"{url}/dead")
        assert page.is_disabled("[data-needs-choice]")
        page.check("[data-all]")
        page.click("text=Send 2 again")
        page.wait_for_selector("text=2 of 2 will be sent again.")
        page.reload()
        assert "No delivery fits." in page.inner_text("main")
        assert wrong == []
