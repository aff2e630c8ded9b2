"""The bootloader against recorded traces of the real bootutil: same operations, same flash, same image started."""

import zlib
from typing import Any

import pytest
from vector_files import build, crcs, perform, perform_cut, put, scenarios, short

PLAIN = scenarios(
    "basic-offset",
    "refused-offset",
    "trailer-offset",
    "size-limits",
    "geometry",
    "ed25519",
    "downgrade",
    "no-primary-validation",
)
SWEEPS = [
    entry for entry in scenarios("sweep-offset", "sweep-small-writes", "one-sector", "nested") if "runs" in entry[1]
]


@pytest.mark.parametrize(("scenario", "config"), [entry[1:] for entry in PLAIN], ids=[entry[0] for entry in PLAIN])
def test_bootloader_does_what_bootutil_was_recorded_doing(scenario: dict[str, Any], config: dict[str, Any]) -> None:
    flash, boot_config = build(config)
    put(flash, scenario["initial"])
    for number, step in enumerate(scenario["steps"]):
        result, operations = perform(flash, boot_config, step)
        expect = step["expect"]
        assert operations == [short(entry) for entry in expect.get("ops", [])], f"step {number}"
        for name, value in result.items():
            assert value == expect[name], f"step {number}: {name}"
        assert crcs(flash) == expect["crc"], f"step {number}"


@pytest.mark.parametrize(("scenario", "config"), [entry[1:] for entry in SWEEPS], ids=[entry[0] for entry in SWEEPS])
def test_device_recovers_from_each_power_cut_as_bootutil_did(scenario: dict[str, Any], config: dict[str, Any]) -> None:
    flash, boot_config = build(config)
    put(flash, scenario["initial"])
    for step in scenario["steps"]:
        perform(flash, boot_config, step)
    before = {name: area.content() for name, area in flash.areas.items()}
    for run in scenario["runs"]:
        for name, area in flash.areas.items():
            flash.storage.write(area.base, before[name])
        first, *further = run["cuts"]
        perform_cut(flash, boot_config, scenario["target"], first)
        for cut in further:
            perform_cut(flash, boot_config, {"do": "boot"}, cut)
        order = scenario["area_order"]
        assert [crcs(flash)[name] for name in order] == _split(run["crc"]), run["cuts"]
        for expected in run["after"]:
            result, operations = perform(flash, boot_config, {"do": "boot"})
            trace = zlib.crc32("".join(f"{entry}\n" for entry in operations).encode())
            found = [result.get("version", result["status"]), len(operations), f"{trace:08x}"]
            assert found == [expected[0], expected[2], expected[3]], run["cuts"]
            assert [crcs(flash)[name] for name in order] == _split(expected[4]), run["cuts"]


def _split(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else list(value)
