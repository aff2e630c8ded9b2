"""A real Chromium for the console's tests: pages whose complaints fail the test, axe, pictures in both themes."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
PICTURES = Path(__file__).parent / "screenshots"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = (ROOT / "services/frontend/tests/vendor/axe.min.js").read_text()
AXE_RUN = """axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
  .then(found => JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html)])))"""
# A refused form answers 4xx, which Chromium reports on its own account.
EXPECTED_NOISE = "Failed to load resource: the server responded with a status of 4"
WIDE, NARROW, HEIGHT = 1440, 360, 900


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("there is no Chromium here: run .ci/install-browser (it installs Debian's package)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages in contexts of their own; whatever they complain about in the browser's console fails the test."""
    contexts, complaints = [], list[str]()

    def listen(page: Page, text: str) -> None:
        if not text.startswith(EXPECTED_NOISE):
            complaints.append(f"{page.url}: {text}")

    def open_one(*, width: int = WIDE, **options: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": HEIGHT}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: listen(page, message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: listen(page, str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def violations() -> Callable[[Page], str]:
    """What axe finds on a page, as JSON; run through the debugger, which the page's policy does not bind."""

    def find(page: Page) -> str:
        session = page.context.new_cdp_session(page)
        session.send("Runtime.evaluate", {"expression": AXE})
        asked = {"expression": AXE_RUN, "awaitPromise": True, "returnByValue": True}
        found: str = session.send("Runtime.evaluate", asked)["result"]["value"]
        session.detach()
        return found

    return find


@pytest.fixture
def shoot(violations: Callable[[Page], str]) -> Callable[[Page, str], None]:
    """Takes the page as it stands, wide and narrow, light and dark; each must fit and be accessible."""

    def take(page: Page, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        for width in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            # As tall as the page is: in a picture, what sticks to the window's edge must not cover the middle.
            tall = max(page.evaluate("document.documentElement.scrollHeight"), HEIGHT)
            page.set_viewport_size({"width": width, "height": tall})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                where = f"{name}, {width} px, {scheme}"
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{where} scrolls sideways"
                assert violations(page) == "[]", where
                page.screenshot(path=PICTURES / f"{name}-{width}-{scheme}.png", full_page=True)
        page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        page.emulate_media(color_scheme="light")

    return take
