"""Planted bugs: each is put into a copy of the application, and the story that is about it has to fail."""

from collections.abc import Callable
from pathlib import Path

import check_device as stories
import check_enrolment
import kconfig
import pytest
from device import Device, compile_all, compile_source, compiler_options, link

from softdevice.images import new_key


def every_example_key_is_refused(device: Device) -> None:
    for example in check_enrolment.EXAMPLES:
        check_enrolment.test_example_key_is_refused_however_it_came_into_the_settings(device, example)


def trial_without_a_watchdog_ends(device: Device) -> None:
    stories.test_trial_on_a_board_whose_watchdog_does_not_start_ends_all_the_same(device, "watchdog")


# file, what stands there, what is put in its place, the story
BUGS: dict[str, tuple[str, str, str, Callable[[Device], None]]] = {
    "every image counts as confirmed": (
        "firmware.c",
        "image->sha256, boot_is_img_confirmed(),",
        "image->sha256, true,",
        stories.test_new_image_is_confirmed_once_the_server_was_reached_and_stays,
    ),
    "the network is enough to be confirmed": (
        "main.c",
        "    net_start();",
        "    net_start();\n    confirm_server_reached();",
        stories.test_new_image_is_not_confirmed_before_it_has_registered,
    ),
    "the self-test is not asked": (
        "confirm.c",
        "if (updraft_self_test())",
        "if (updraft_self_test() || true)",
        stories.test_image_whose_self_test_fails_is_not_confirmed_although_it_registers,
    ),
    "the watchdog waits for ever": (
        "confirm.c",
        "task_wdt_add(CONFIG_UPDRAFT_WATCHDOG_SECONDS * MSEC_PER_SEC",
        "task_wdt_add(CONFIG_UPDRAFT_WATCHDOG_SECONDS * MSEC_PER_SEC * 1000",
        stories.test_image_that_hangs_is_reset_by_the_watchdog_and_reverted,
    ),
    "the trial's watchdog outlives the trial": (
        "confirm.c",
        "        task_wdt_delete(trial_channel);\n",
        "",
        stories.test_confirmed_device_runs_on_past_the_deadline,
    ),
    "the trial's watchdog comes much too late": (
        "confirm.c",
        "CONFIG_UPDRAFT_CONFIRM_SECONDS + GRACE_SECONDS",
        "CONFIG_UPDRAFT_CONFIRM_SECONDS * 100 + GRACE_SECONDS",
        stories.test_trial_over_which_the_clock_stands_still_is_ended_by_the_watchdog,
    ),
    "without a watchdog there is no trial": (
        "confirm.c",
        "int error = watch();",
        "int error = watch();\n    if (error != 0) {\n        return error;\n    }",
        trial_without_a_watchdog_ends,
    ),
    "the server is not told of the confirmation": (
        "confirm.c",
        "    image_object_confirmed();\n",
        "",
        stories.test_new_image_is_confirmed_once_the_server_was_reached_and_stays,
    ),
    "the record is stored after the request": (
        "firmware.c",
        "keep(actions) != 0 || slots_request_test() != 0",
        "slots_request_test() != 0 || keep(actions) != 0",
        stories.test_power_cut_right_after_mcuboot_was_asked_is_still_an_update_that_arrives,
    ),
    "a refused request is not taken back": (
        "firmware.c",
        "        keep(updraft_update_step(&update, UPDRAFT_REQUEST_REFUSED));\n",
        "",
        stories.test_update_that_mcuboot_could_not_be_asked_for_can_be_tried_again,
    ),
    "blocks may come in any order": (
        "firmware.c",
        "(!receiving || offset != package.offset)",
        "!receiving",
        stories.test_block_out_of_its_place_ends_the_download_and_is_not_written,
    ),
    "the record is not stored": (
        "firmware.c",
        'return store_save("record", bytes, sizeof(bytes));',
        "return 0;",
        stories.test_image_that_never_registers_is_left_at_the_deadline_and_the_old_one_says_so,
    ),
    "the image is written to the start of the slot": (
        "slots.c",
        "start = (uint32_t)boot_get_image_start_offset(secondary->fa_id);",
        "start = 0;",
        stories.updated,
    ),
    "the old header stays in the first sector": (
        "slots.c",
        "start == 0 ? 0 : flash_area_flatten(secondary, 0, start)",
        "0",
        stories.test_device_can_be_updated_again_and_again,
    ),
    "the old image's trailer stays": (
        "slots.c",
        "error = flash_area_flatten(secondary, (off_t)(size - reserved), reserved);",
        "error = reserved == 0;",
        stories.test_trailer_that_somebody_else_left_does_not_stop_an_update,
    ),
    "no room is left for the trailer": (
        "slots.c",
        "return sectors > reserved ? (sectors - reserved) * sector : 0;",
        "return sectors * sector + 0 * reserved;",
        stories.test_largest_image_that_is_taken_can_be_swapped_and_reverted,
    ),
    "the announced size is not looked at": (
        "firmware.c",
        "if (total > slot.area.size)",
        "if (total > slot.area.size && false)",
        stories.test_announced_size_larger_than_the_slot_is_refused_with_the_first_block,
    ),
    "the secondary slot is erased when an image is confirmed": (
        "firmware.c",
        "    error = boot_write_img_confirmed();",
        "    error = boot_write_img_confirmed();\n    slots_secondary(&slot);\n    slot.erase(NULL, 0, 4096);",
        stories.test_fallback_lies_untouched_until_the_next_download,
    ),
    "there is no bad key": (
        "credentials.c",
        "return counts || repeats;",
        "return counts && repeats;",
        every_example_key_is_refused,
    ),
    "a key that counts over its end is good": (
        "credentials.c",
        "psk[i] == (uint8_t)(psk[i - 1] + 1)",
        "psk[i] == psk[i - 1] + 1",
        every_example_key_is_refused,
    ),
    "any key is long enough": (
        "credentials.c",
        "enrolled->psk_bytes < MIN_PSK_BYTES",
        "enrolled->psk_bytes < 1",
        check_enrolment.test_key_that_is_too_short_is_none_however_it_came_into_the_settings,
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[Path, Path]]:
    """Objects of the application as it is, by overlay."""
    return {
        overlay: compile_all(tmp_path_factory.mktemp("sound"), overlay)
        for overlay in ("overlay-delta.conf", "overlay-dtls.conf")
    }


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught(bug: str, sound: dict[str, dict[Path, Path]], tmp_path: Path) -> None:
    file, stands, planted, story = BUGS[bug]
    source = kconfig.APPLICATION / "src" / file
    text = source.read_text()
    assert text.count(stands) == 1, f"{file} does not hold {stands!r} once"
    (tmp_path / file).write_text(text.replace(stands, planted))
    overlay = "overlay-dtls.conf" if file == "credentials.c" else "overlay-delta.conf"
    mutant = compile_source(tmp_path / file, tmp_path, compiler_options(tmp_path, overlay))
    device = Device(link((sound[overlay] | {source: mutant}).values(), tmp_path), tmp_path, new_key())
    device.provision(device.image("1.0.0"))
    device.enrol()
    with pytest.raises((AssertionError, ValueError)):
        story(device)
