"""Stories of a device that runs the application's C: what it confirms, when it goes back, what it refuses."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import kconfig
import pytest
from device import PRIMARY_SECTORS, Device, build

from firmware_delta.creation import create
from mcuboot_image import Version
from softdevice.flash import SECTOR_BYTES
from softdevice.images import SigningKey, new_key
from softdevice.trailer import SwapType

OLD, NEW = Version(1, 0, 0, 0), Version(1, 1, 0, 0)


@pytest.fixture(scope="session")
def key() -> SigningKey:
    return new_key()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("build"), "overlay-delta.conf")


@pytest.fixture
def device(program: Path, key: SigningKey, tmp_path: Path) -> Device:
    made = Device(program, tmp_path, key)
    made.provision(made.image("1.0.0"))
    made.enrol()
    return made


def updated(device: Device) -> None:
    """The new image is in primary, not confirmed yet."""
    said = device.live(f"download {device.package('new.bin', device.image('1.1.0', seed=7))}", "execute", "wait 2")
    assert said[-2:] == ["upgrade requested", "off: reboot"]
    outcome = device.boot()
    assert (outcome.version, outcome.swapped) == (NEW, SwapType.TEST)


def test_new_image_is_confirmed_once_the_server_was_reached_and_stays(device: Device) -> None:
    updated(device)
    said = device.live("wait 60", "read 26250/0/1", "registered", "wait 1", "read 26250/0/1")
    assert said.index("/26250/0/1 = 00") < said.index("confirmed") < said.index("result 1")
    assert said[-2] == "/26250/0/1 = 01"
    assert device.boot().version == NEW


def test_new_image_is_not_confirmed_before_it_has_registered(device: Device) -> None:
    updated(device)
    assert "confirmed" not in device.live("wait 599")
    assert device.boot().version == OLD


def test_confirmed_device_runs_on_past_the_deadline(device: Device) -> None:
    updated(device)
    assert device.live("registered", "wait 700")[-1] == "off: power"


def test_confirmed_device_runs_on_although_that_could_not_be_recorded_and_says_so_after_the_next_boot(
    device: Device,
) -> None:
    updated(device)
    said = device.live("registered", "wait 700", "read 26250/0/1", broken="settings")
    assert said[-2:] == ["/26250/0/1 = 01", "off: power"]
    assert device.boot().version == NEW
    assert "result 1" in device.live()


def test_image_that_never_registers_is_left_at_the_deadline_and_the_old_one_says_so(device: Device) -> None:
    updated(device)
    assert device.live("wait 601")[-1] == "off: reboot"
    outcome = device.boot()
    assert (outcome.version, outcome.swapped) == (OLD, SwapType.REVERT)
    said = device.live("registered", "read 26250/0/4")
    assert "result 8" in said
    assert "/26250/0/4 = 03 00 00 00" in said


def test_image_that_hangs_is_reset_by_the_watchdog_and_reverted(device: Device) -> None:
    updated(device)
    assert device.live("wait 5", "hang 120")[-1] == "off: watchdog"
    assert device.boot().version == OLD


def test_trial_over_which_the_clock_stands_still_is_ended_by_the_watchdog(device: Device) -> None:
    updated(device)
    assert device.live("wait 611", broken="clock")[-1] == "off: watchdog"
    assert device.boot().version == OLD


@pytest.mark.parametrize("part", ["watchdog", "first channel", "second channel"])
def test_trial_on_a_board_whose_watchdog_does_not_start_ends_all_the_same(device: Device, part: str) -> None:
    updated(device)
    said = device.live("wait 601", broken=part)
    assert any(line.startswith("error: watchdog: -") for line in said)
    assert said[-1] == "off: reboot"
    assert device.boot().version == OLD
    device.live("registered")
    updated(device)
    assert "confirmed" in device.live("registered", "wait 1", broken=part)
    assert device.boot().version == NEW


def test_image_whose_self_test_fails_is_not_confirmed_although_it_registers(device: Device) -> None:
    updated(device)
    said = device.live("registered", "wait 601", broken="self-test")
    assert "confirmed" not in said
    assert said[-1] == "off: reboot"
    assert device.boot().version == OLD


def test_power_cut_during_the_trial_brings_the_old_image_back(device: Device) -> None:
    updated(device)
    device.live("wait 3")
    assert device.boot().version == OLD


def test_fallback_lies_untouched_until_the_next_download(device: Device) -> None:
    updated(device)
    device.live("registered", "wait 1")
    device.live("registered", "wait 3600")
    assert device.flash["secondary"].read(0, len(device.factory)) == device.factory


def test_no_download_begins_while_the_running_image_is_on_trial(device: Device) -> None:
    updated(device)
    fallback = device.flash["secondary"].content()
    said = device.live(f"download {device.package('next.bin', device.image('1.2.0'))}")
    assert said[-2] == "result 8"
    assert device.flash["secondary"].content() == fallback


def test_power_cut_right_after_mcuboot_was_asked_is_still_an_update_that_arrives(device: Device) -> None:
    package = device.package("new.bin", device.image("1.1.0", seed=7))
    assert device.live(f"download {package}", "execute", broken="supply")[-1] == "off: power"
    assert device.boot().version == NEW
    assert "result 1" in device.live("registered", "wait 1")


def test_update_that_mcuboot_could_not_be_asked_for_can_be_tried_again(device: Device) -> None:
    package = device.package("new.bin", device.image("1.1.0", seed=7))
    said = device.live(f"download {package}", "execute", f"download {package}", broken="upgrade request")
    assert "result 8" in said
    assert said[-2] == "state 2"


def test_block_out_of_its_place_ends_the_download_and_is_not_written(device: Device) -> None:
    secondary = device.flash["secondary"]
    said = device.live(f"skip {device.package('new.bin', device.image('1.1.0'))}")
    assert said[-2] == "result 5"
    first_block = int(kconfig.settings(kconfig.APPLICATION / "prj.conf")["LWM2M_COAP_BLOCK_SIZE"])
    behind = SECTOR_BYTES + first_block
    assert set(secondary.read(behind, secondary.size - behind)) == {0xFF}


def test_device_can_be_updated_again_and_again(device: Device) -> None:
    for minor in (1, 2, 3):
        package = device.package("next.bin", device.image(f"1.{minor}.0", seed=minor))
        device.live("registered", f"download {package}", "execute", "wait 2")
        assert device.boot().version == Version(1, minor, 0, 0)
        assert "confirmed" in device.live("registered", "wait 1")


def test_trailer_that_somebody_else_left_does_not_stop_an_update(device: Device) -> None:
    secondary = device.flash["secondary"]
    secondary.write(secondary.size - 16, b"\0" * 16)
    updated(device)


def test_result_of_an_update_survives_a_reboot_and_goes_with_the_next_download(device: Device) -> None:
    updated(device)
    device.live("registered", "wait 1")
    device.boot()
    assert "result 1" in device.live()
    device.live(f"lose {device.package('next.bin', device.image('1.2.0'))}")
    assert "result 1" not in device.live()


def test_delta_is_applied_to_the_running_image(device: Device) -> None:
    new = device.image("1.1.0", seed=7)
    package = device.package("new.udelta", create(device.factory, new).data)
    said = device.live(f"download {package}", "execute", "wait 2")
    assert "upgrade requested" in said
    assert device.boot().version == NEW
    assert device.flash["primary"].read(0, len(new)) == new


def test_delta_for_another_image_is_refused_before_anything_is_erased(device: Device) -> None:
    updated(device)
    device.live("registered", "wait 1")
    device.boot()
    before = device.flash["secondary"].content()
    package = device.package("old.udelta", create(device.factory, device.image("1.2.0")).data)
    assert device.live(f"download {package}")[-2] == "result 5"
    assert device.flash["secondary"].content() == before


def test_build_without_deltas_refuses_one_and_says_that_it_takes_none(
    device: Device, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plain = Device(build(tmp_path_factory.mktemp("plain")), device.folder, device.key)
    plain.provision(plain.image("1.0.0"))
    package = plain.package("new.udelta", create(plain.factory, plain.image("1.1.0")).data)
    said = plain.live("read 26250/0/3", f"download {package}")
    assert "/26250/0/3 = 00 00 00 00" in said
    assert said[-2] == "result 6"


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a bit flipped": (lambda image: image[:9000] + bytes([image[9000] ^ 1]) + image[9001:], "result 5"),
    "cut short": (lambda image: image[:-40], "result 5"),
    "no image at all": (lambda image: b"hello, this is not an image" + image[27:], "result 6"),
    "bytes behind the end": (lambda image: image + b"\0" * 16, "result 5"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_image_never_gets_as_far_as_downloaded(device: Device, kind: str) -> None:
    spoil, result = BAD[kind]
    said = device.live(f"download {device.package('bad.bin', spoil(device.image('1.1.0')))}", "execute")
    assert result in said
    assert said[-2] == "not allowed"
    assert device.boot().version == OLD


def test_image_of_a_foreign_key_passes_the_device_and_is_refused_by_the_bootloader(device: Device) -> None:
    foreign = Device(device.program, device.folder, new_key()).image("1.1.0")
    device.live(f"download {device.package('foreign.bin', foreign)}", "execute", "wait 2")
    assert device.boot().version == OLD
    assert "result 8" in device.live("registered")


def test_announced_size_larger_than_the_slot_is_refused_with_the_first_block(device: Device) -> None:
    before = device.flash["secondary"].content()
    package = device.package("new.bin", device.image("1.1.0"))
    assert device.live(f"download {package} announced {SECTOR_BYTES * PRIMARY_SECTORS}")[-2] == "result 2"
    assert device.flash["secondary"].content() == before


def test_largest_image_that_is_taken_can_be_swapped_and_reverted(device: Device) -> None:
    room = SECTOR_BYTES * (PRIMARY_SECTORS - 1)
    overhead = len(device.image("1.1.0", size=1000)) - 1000
    package = device.package("large.bin", device.image("1.1.0", size=room - overhead - 8))
    assert "state 2" in device.live(f"download {package}", "execute", "wait 2")
    assert device.boot().version == NEW
    device.live("wait 601")
    assert device.boot().version == OLD
    too_large = device.package("larger.bin", device.image("1.1.0", size=room))
    assert "result 2" in device.live("registered", f"download {too_large}")


@pytest.mark.parametrize("unit", [1, 4, 8, 16])
def test_every_write_unit_keeps_the_rules_of_the_flash(
    program: Path, key: SigningKey, tmp_path: Path, unit: int
) -> None:
    device = Device(program, tmp_path, key, unit)
    device.provision(device.image("1.0.0"))
    device.enrol()
    if unit <= 8:  # MCUboot's own alignment is 8 here; larger units need another build of it
        updated(device)
        assert "confirmed" in device.live("registered", "wait 1")
    else:
        assert "state 2" in device.live(f"download {device.package('new.bin', device.image('1.1.0'))}")


def test_download_that_was_lost_begins_anew(device: Device) -> None:
    package = device.package("new.bin", device.image("1.1.0", seed=7))
    said = device.live(f"lose {package}", f"download {package}", "execute", "wait 2")
    assert said.index("result 4") < said.index("upgrade requested")
    assert device.boot().version == NEW


def test_cancelled_update_is_forgotten_and_the_next_one_works(device: Device) -> None:
    package = device.package("new.bin", device.image("1.1.0", seed=7))
    said = device.live(f"download {package}", "cancel", "execute", f"download {package}", "execute", "wait 2")
    assert said.index("not allowed") < said.index("upgrade requested")
    assert device.boot().version == NEW


def test_object_26250_tells_the_hash_of_the_running_image_and_how_often_it_booted(device: Device) -> None:
    device.live()
    said = device.live("read 26250/0/0", "read 26250/0/1", "read 26250/0/2", "read 26250/0/3")
    assert f"/26250/0/0 = {hashlib.sha256(device.factory).digest().hex(' ')}" in said
    assert "/26250/0/1 = 01" in said
    assert "/26250/0/2 = 02 00 00 00" in said
    assert "/26250/0/3 = 03 00 00 00" in said


def test_device_that_was_not_started_by_mcuboot_takes_no_deltas(program: Path, key: SigningKey, tmp_path: Path) -> None:
    device = Device(program, tmp_path, key)
    device.enrol()
    said = device.live("read 26250/0/3")
    assert "warning: the primary slot holds no MCUboot image" in said
    assert "/26250/0/3 = 00 00 00 00" in said


def test_client_that_gave_up_begins_anew_after_a_while(device: Device) -> None:
    said = device.live("network error", "wait 59", "wait 2")
    assert said.count("client starts as board-1") == 2
    assert said.index("client stops") > 0


def test_device_says_of_itself_what_the_product_is_found_by(device: Device) -> None:
    said = device.live()
    assert "/3/0/1 = updraft-device" in said
    assert "/3/0/3 = 1.0.0+0" in said
