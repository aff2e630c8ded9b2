"""An operator at the console of a real suite: empty installation, release, rollout, and why one device went back."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from softdevice import images
from updraft_local import firmware
from updraft_local.management import Management
from updraft_local.suite import OPERATOR, Options, Suite, device_name

OpenPage = Callable[..., Page]
Shoot = Callable[[Page, str], None]
DEVICES = 12
MISBEHAVING = {3: "never_confirms", 5: "queue_mode", 7: "loses_fifth", 11: "reboots_mid_download"}
ROLLED_BACK, SLOW = device_name(3), device_name(7)
RELEASE = f"{firmware.PRODUCT_NAME} {firmware.NEW_VERSION}"
CAMPAIGN_MS = 240_000
# Kept on the window object: a page that has been loaded anew has lost it.
MARK, MARKED = "window.neverReloaded = true", "window.neverReloaded === true"


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    """Everything, with devices that have registered, and nothing else: no product, no release, no rollout.

    In a folder beside pytest's own, which every pytest that starts closes to the user PostgreSQL runs as.
    """
    folder = Path(tempfile.mkdtemp(prefix="updraft-browser-"))
    running = Suite(Options(folder, firmware.prepare(folder / "firmware"), DEVICES, misbehaving=MISBEHAVING))
    try:
        running.start()
        running.wait_online()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def manager(suite: Suite) -> Iterator[Management]:
    client = suite.management()
    yield client
    client.close()


@pytest.fixture
def product(suite: Suite, manager: Management) -> int:
    """The product of the devices, made by the test before or made now."""
    return manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, suite.options.firmware.public_keys)


@pytest.fixture
def release(suite: Suite, manager: Management, product: int) -> int:
    """The new release, uploaded by the test before or uploaded now."""
    there = [one for one in manager.get("/releases")["content"] if one["version"] == firmware.NEW_VERSION]
    found = there[0] if there else manager.publish(suite.options.firmware.new, firmware.PRODUCT_KEY)
    return int(found["distributionSetId"])


@pytest.fixture
def finished(manager: Management, release: int) -> int:
    """A rollout of it that has ended, watched by the test before or carried out now."""
    there = [one["id"] for one in manager.get("/rollouts")["content"] if one["status"] == "finished"]
    if there:
        return int(there[0])
    rollout = manager.create_rollout("By script", release)
    manager.post(f"/rollouts/{rollout}/start")
    manager.wait(lambda: manager.progress(rollout)["status"] == "finished", CAMPAIGN_MS / 1000, "the rollout to end")
    return rollout


@pytest.fixture
def operator(suite: Suite, open_page: OpenPage) -> Page:
    """A browser of a signed-in operator, on the overview."""
    page = open_page()
    sign_in(page, suite, suite.secrets.operator)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    return page


def sign_in(page: Page, suite: Suite, password: str) -> None:
    page.goto(suite.frontend_url)
    page.get_by_label("Name").fill(OPERATOR)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def upload(page: Page, image: Path) -> None:
    page.get_by_label("Image file").set_input_files(image)
    page.get_by_role("button", name="Inspect and save").click()


def numbers_shown(page: Page) -> list[str]:
    """Every number of confirmed devices the control room has shown since `watch_numbers`."""
    shown: list[str] = page.evaluate("window.confirmedShown")
    return shown


def watch_numbers(page: Page) -> None:
    page.evaluate("""() => {
      const read = () => document.querySelector('.figures dd').textContent.trim();
      window.confirmedShown = [read()];
      new MutationObserver(() => {
        if (read() !== window.confirmedShown.at(-1)) window.confirmedShown.push(read());
      }).observe(document.body, {subtree: true, childList: true, characterData: true});
    }""")


def test_wrong_password_is_told_and_the_right_one_opens_the_door(
    suite: Suite, open_page: OpenPage, shoot: Shoot
) -> None:
    page = open_page()
    sign_in(page, suite, "not-the-password")
    expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong")
    expect(page.get_by_label("Name")).to_have_value(OPERATOR)
    expect(page.get_by_text("make run")).to_be_visible()
    shoot(page, "sign-in")
    page.get_by_label("Password").fill(suite.secrets.operator)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_empty_installation_says_what_to_do_next(operator: Page, shoot: Shoot) -> None:
    steps = operator.get_by_role("region", name="First steps")
    expect(steps.get_by_role("link", name="Add a product")).to_be_visible()
    expect(steps).to_contain_text(f"{DEVICES} devices have registered")
    shoot(operator, "overview-empty")
    steps.get_by_role("link", name="Add a product").click()
    expect(operator.get_by_role("heading", name="Products and signing keys")).to_be_visible()


def test_product_is_added_with_the_key_its_images_are_signed_with(suite: Suite, operator: Page, shoot: Shoot) -> None:
    operator.get_by_role("link", name="Products").click()
    operator.get_by_label("Name", exact=True).fill(firmware.PRODUCT_NAME)
    operator.get_by_label("Key", exact=True).fill(firmware.PRODUCT_KEY)
    operator.get_by_label("Signing key, public part").fill(suite.options.firmware.public_keys[0].read_text())
    operator.get_by_label("Name of the key").last.fill("test key")
    operator.get_by_role("button", name="Add product").click()
    expect(operator.get_by_role("status")).to_contain_text("Product added")
    expect(operator.get_by_role("region", name=firmware.PRODUCT_NAME)).to_contain_text("ECDSA P-256")
    shoot(operator, "products")


def foreign(good: bytes) -> bytes:
    """The same firmware, signed by a key nobody trusts."""
    return images.real_images(images.new_key())[1]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(foreign, "key", id="foreign-key"),
        pytest.param(lambda good: good[:-1000], "header promises", id="truncated"),
        pytest.param(lambda good: good[:4096] + bytes([good[4096] ^ 1]) + good[4097:], "hash", id="bit-flipped"),
    ],
)
def test_bad_image_is_refused_with_its_reason_and_nothing_is_kept(
    suite: Suite,
    manager: Management,
    product: int,
    operator: Page,
    shoot: Shoot,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    words: str,
) -> None:
    image = tmp_path / "bad.signed.bin"
    image.write_bytes(damage(suite.options.firmware.new.read_bytes()))
    before = manager.get("/releases")["total"]
    operator.get_by_role("link", name="Releases").click()
    upload(operator, image)
    verdict = operator.locator(".verdict.refused")
    expect(verdict).to_contain_text(words)
    expect(verdict).to_contain_text("How to mend it")
    expect(verdict).to_contain_text("Nothing was saved")
    assert manager.get("/releases")["total"] == before
    if damage is foreign:
        shoot(operator, "upload-refused")


def test_signed_image_passes_the_inspector_and_shows_what_is_in_it(
    suite: Suite, product: int, operator: Page, shoot: Shoot
) -> None:
    operator.get_by_role("link", name="Releases").click()
    upload(operator, suite.options.firmware.new)
    expect(operator.get_by_role("heading", name=RELEASE)).to_be_visible()
    verdict = operator.locator(".verdict.good")
    expect(verdict).to_contain_text("test key")
    expect(operator.get_by_role("table", name="TLV records")).to_contain_text("ECDSA_SIG")
    shoot(operator, "release")
    operator.get_by_role("link", name="Releases").last.click()
    expect(operator.get_by_role("table", name="Releases")).to_contain_text(firmware.NEW_VERSION)
    shoot(operator, "releases")


def test_rollout_is_previewed_started_and_watched_to_its_end_without_a_reload(
    release: int, operator: Page, shoot: Shoot
) -> None:
    operator.goto(operator.url + f"releases/{release}")
    operator.get_by_role("link", name="Roll out").click()
    operator.get_by_label("Groups", exact=True).fill("3")
    operator.get_by_label("Pause above").fill("60")
    operator.get_by_label("Pause above").press("Tab")
    expect(operator.locator("#check")).to_contain_text(f"{DEVICES} devices download it, in 3 groups")
    shoot(operator, "rollout-new")
    operator.get_by_label("Start at once").check()
    operator.get_by_role("button", name="Create rollout").click()
    expect(operator.locator(".head .badge")).to_contain_text("running")
    operator.evaluate(MARK)
    watch_numbers(operator)
    # Of the second group, one device loses every fifth datagram: there is time to look at its download.
    slow = operator.get_by_role("table", name="Devices in flight").get_by_role("row", name=SLOW)
    expect(slow.get_by_text(re.compile(r"^[2-9]\d.%$"))).to_be_visible(timeout=CAMPAIGN_MS)
    expect(slow).to_contain_text("/s")
    shoot(operator, "control-room-running")
    expect(operator.locator(".head .badge")).to_contain_text("finished", timeout=CAMPAIGN_MS)
    assert operator.evaluate(MARKED)
    shown = numbers_shown(operator)
    assert shown[-1] == str(DEVICES - 1)
    assert len(shown) >= 4, f"the page jumped: {shown}"
    shoot(operator, "control-room-finished")


def test_reason_of_the_rollback_is_two_clicks_from_the_control_room(
    suite: Suite, finished: int, operator: Page, shoot: Shoot
) -> None:
    operator.goto(f"{suite.frontend_url}/rollouts/{finished}")
    operator.locator(".why summary", has_text="Rolled back").click()
    operator.get_by_role("link", name=ROLLED_BACK).first.click()
    reason = operator.get_by_role("region", name="Rolled back")
    expect(reason).to_contain_text("1.1.0 booted but was never confirmed: MCUboot reverted the device to 1.0.0")
    expect(reason).to_contain_text("What to try")
    shoot(operator, "device-rolled-back")


def test_page_of_every_odd_device_tells_what_became_of_it(suite: Suite, finished: int, operator: Page) -> None:
    def attempt(number: int) -> Any:
        operator.goto(f"{suite.frontend_url}/devices/{device_name(number)}")
        return operator.locator(".attempt").last

    expect(attempt(7)).to_contain_text("repeated")  # one datagram of five was lost
    expect(attempt(11)).to_contain_text("lost its download, offering again")  # it rebooted in mid-download
    expect(attempt(11)).to_contain_text("succeeded")
    expect(attempt(5)).to_contain_text("succeeded")
    expect(operator.locator(".figures")).to_contain_text("queue mode")


def test_overview_after_a_rollout_names_the_device_that_needs_somebody(
    finished: int, operator: Page, shoot: Shoot
) -> None:
    attention = operator.get_by_role("region", name="Needs attention")
    expect(attention.get_by_role("link", name=ROLLED_BACK)).to_be_visible()
    versions = operator.get_by_role("region", name="Versions in the field")
    versions.get_by_role("row", name="1.0.0").get_by_role("link").click()
    expect(operator.get_by_role("table", name="Devices").get_by_role("row")).to_have_count(2)
    expect(operator.get_by_role("table", name="Devices")).to_contain_text(ROLLED_BACK)
    operator.get_by_role("link", name="Overview").click()
    expect(operator.get_by_role("heading", name="Overview")).to_be_visible()
    shoot(operator, "overview")


def test_devices_are_found_by_a_part_of_their_name(finished: int, operator: Page, shoot: Shoot) -> None:
    operator.get_by_role("link", name="Devices", exact=True).click()
    rows = operator.get_by_role("table", name="Devices").get_by_role("row")
    expect(rows).to_have_count(DEVICES + 1)
    shoot(operator, "devices")
    operator.keyboard.press("/")
    operator.keyboard.type("0011")
    operator.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    operator.get_by_role("link", name=device_name(11)).click()
    expect(operator.get_by_role("heading", name=device_name(11))).to_be_visible()
    expect(operator.locator(".figures")).to_contain_text(firmware.NEW_VERSION)


def test_signing_out_ends_the_session(suite: Suite, operator: Page) -> None:
    kept = operator.context.cookies()
    operator.get_by_role("button", name="Sign out").click()
    expect(operator.get_by_role("heading", name="Sign in")).to_be_visible()
    operator.context.add_cookies(kept)  # type: ignore[arg-type]
    operator.goto(f"{suite.frontend_url}/devices")
    expect(operator.get_by_role("heading", name="Sign in")).to_be_visible()


def test_without_scripts_one_reads_and_starts_a_rollout(
    suite: Suite, manager: Management, finished: int, release: int, open_page: OpenPage
) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, suite, suite.secrets.operator)
    expect(page.get_by_role("region", name="Fleet")).to_contain_text(str(DEVICES))
    page.get_by_role("link", name="Devices", exact=True).click()
    expect(page.get_by_role("table", name="Devices")).to_contain_text(ROLLED_BACK)
    page.goto(f"{suite.frontend_url}/rollouts/new?release={release}")
    page.get_by_label("Name of the rollout").fill("Once more")
    page.get_by_label("Devices that match").fill(f"controllerId=={ROLLED_BACK}")
    page.get_by_label("Groups", exact=True).fill("1")
    page.get_by_label("Pause above").fill("100")
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#check")).to_contain_text("1 device downloads it, in 1 group")
    page.get_by_role("button", name="Create rollout").click()
    page.get_by_role("button", name="Start rollout").click()
    expect(page.get_by_role("status").first).to_contain_text("Rollout started")
    rollout = int(page.url.split("?")[0].rsplit("/", 1)[1])
    manager.wait(lambda: manager.progress(rollout)["status"] in ("finished", "paused"), 120, "the device to go back")
    page.reload()
    expect(page.locator(".why summary")).to_contain_text("Rolled back")
