"""The console's pages over its fake update manager, in Chromium: accessible, live, whole without scripts."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from frontend.app import create_app
from frontend.settings import FrontendSettings
from frontend.testing import PASSWORD, USERNAME, FakeManager
from frontend.testing.fleet import HOSTILE, ROLLED_BACK
from frontend.testing.journeys import ROLLED_BACK_TEXT
from frontend.view_models.feed import device_path

OpenPage = Callable[..., Page]
PAGES = (
    "/", "/devices", "/devices?q=updatestatus%3Dpending", device_path(ROLLED_BACK), device_path(HOSTILE), "/releases",
    "/releases/11", "/products", "/rollouts", "/rollouts/new?release=11", "/rollouts/1", "/rollouts/2",
    "/rollouts/1/groups/1", "/nothing",
)  # fmt: skip


@contextmanager
def served(app: Any) -> Iterator[str]:
    """`app` on a free port, in a thread."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def console() -> Iterator[str]:
    with (
        served(FakeManager(step_seconds=0.2).app) as manager,
        served(create_app(FrontendSettings(update_manager_url=manager))) as address,
    ):
        yield address


def sign_in(page: Page, console: str) -> Page:
    page.goto(f"{console}/sign-in")
    page.get_by_label("Name").fill(USERNAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 360)])
def test_pages_are_accessible_fit_and_do_not_complain(
    open_page: OpenPage, violations: Callable[[Page], str], console: str, scheme: str, width: int
) -> None:
    page = sign_in(open_page(width=width, color_scheme=scheme), console)
    for path in PAGES:
        page.goto(console + path)
        assert violations(page) == "[]", path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_control_room_moves_by_itself_and_keeps_what_was_opened(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(f"{console}/rollouts/1")
    page.locator(".why summary").first.click()
    confirmed = page.locator(".figures dd").first
    before = confirmed.inner_text()
    expect(confirmed).not_to_have_text(before)
    expect(page.locator(".why").first).to_have_attribute("open", "")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    page.get_by_role("button", name="Live").click()
    held = confirmed.inner_text()
    page.wait_for_timeout(700)
    assert confirmed.inner_text() == held


def test_reason_of_a_rollback_is_two_clicks_away(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(f"{console}/rollouts/1")
    page.locator(".why summary", has_text="Rolled back").click()
    page.get_by_role("link", name=ROLLED_BACK).first.click()
    expect(page.locator(".reason")).to_contain_text(ROLLED_BACK_TEXT)


def test_preview_follows_the_form_as_it_is_filled(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(f"{console}/rollouts/new?release=11")
    page.get_by_label("Groups").fill("7")
    page.get_by_label("Groups").press("Tab")
    expect(page.locator("#check")).to_contain_text("in 7 groups")


def test_refused_upload_is_explained_on_the_same_page(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(f"{console}/releases")
    page.get_by_label("Image file").set_input_files(
        {"name": "zephyr.elf", "mimeType": "application/octet-stream", "buffer": b"\x7fELF" + bytes(999)}
    )
    page.get_by_role("button", name="Inspect and save").click()
    expect(page.locator(".verdict.refused")).to_contain_text("How to mend it")


def test_what_a_form_has_done_is_told_once(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(f"{console}/rollouts/3?notice=created")
    expect(page.locator(".notice")).to_contain_text("Rollout created")
    assert page.url == f"{console}/rollouts/3"
    expect(page.locator(".notice")).to_have_count(0, timeout=12_000)


def test_keyboard_reaches_search_and_content(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(), console)
    page.keyboard.press("/")
    expect(page.get_by_label("Find a device")).to_be_focused()
    page.goto(console)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("path", ["/", "/devices", "/rollouts/1", "/rollouts/new?release=11"])
def test_whatever_has_the_keyboard_is_outlined_and_not_covered(open_page: OpenPage, console: str, path: str) -> None:
    page = sign_in(open_page(), console)
    page.goto(console + path)
    for stops in range(25):
        page.keyboard.press("Tab")
        seen = page.evaluate("""() => {
          const element = document.activeElement, style = getComputedStyle(element);
          const box = element.getBoundingClientRect();
          const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
          return element === document.body ? null : {
            html: element.outerHTML.slice(0, 120), outline: style.outlineStyle, wide: parseFloat(style.outlineWidth),
            uncovered: element.contains(top) || top?.contains(element)};
        }""")
        if seen is None:  # once round
            assert stops > 8
            break
        assert seen["outline"] == "solid" and seen["wide"] >= 2, seen
        assert seen["uncovered"], seen


def test_everything_needed_works_without_scripts(open_page: OpenPage, console: str) -> None:
    page = sign_in(open_page(java_script_enabled=False), console)
    page.goto(f"{console}/rollouts/new?release=9")
    page.get_by_label("Name of the rollout").fill("By hand")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check")).to_contain_text("Will download it")
    page.get_by_role("button", name="Create rollout").click()
    expect(page.locator(".notice")).to_contain_text("Rollout created")
    page.get_by_role("button", name="Start rollout").click()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    page.locator("summary", has_text="Stop").click()
    page.get_by_role("button", name="Stop for good").click()
    expect(page.locator(".badge").first).to_contain_text("stopped")
