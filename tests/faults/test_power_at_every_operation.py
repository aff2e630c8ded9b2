"""The power goes at every flash operation of an update, in one campaign: each device loses it at another one.

Whatever happens, the old or the new version boots, and the server's record says which.
"""

from collections import Counter

from bench import Bench, Release
from cut_fleet import Kind, switched_on

from softdevice import images
from softdevice.device import Device
from softdevice.flash import Cut

OLD_VERSION = "1.0.0"
SMALL_SECTORS = 8
# Clean, and torn behind the first unit.
APPLIED = (0, 4)
CAMPAIGN_SECONDS = 240.0


def small_firmware(changed: bool) -> bytes:
    """Payload of two sectors, in which a release puts some words."""
    payload = bytes(range(256)) * 24
    return payload[:3000] + b"a new release" * 5 + payload[3000:] if changed else payload


def require_agreement(bench: Bench, devices: list[Device], release: Release) -> Counter[str]:
    """Flash, record and what the device said last tell the same; how many devices had which fate."""
    fates: Counter[str] = Counter()
    runs: dict[str, str] = {}
    for device in devices:
        flash = device.board.contents()
        attempt = bench.manager.timeline(device.name)["attempts"][0]
        fate = attempt["cause"] or attempt["status"]
        story = (device.name, fate, flash, attempt)
        assert device.board.flash.cut is None, ("the power did go", *story)
        assert fate in ("finished", "rolled_back"), story
        runs[device.name] = release.version if fate == "finished" else OLD_VERSION
        assert str(flash.running) == runs[device.name] and flash.confirmed and not flash.swapping, story
        fates[fate] += 1

    def reported() -> bool:
        rows = bench.rows(
            "SELECT controller_id, telemetry->>'/3/0/3' AS version FROM target WHERE controller_id = ANY(%s)", [*runs]
        )
        return {row["controller_id"]: row["version"] for row in rows} == runs

    bench.until(reported, "every device's own word to agree with its flash")
    return fates


def test_old_or_new_version_boots_after_a_cut_at_every_flash_operation_of_an_update(bench: Bench) -> None:
    old = images.sign(small_firmware(changed=False), OLD_VERSION, bench.key)
    release = bench.release(small_firmware(changed=True))
    kind = Kind("cut-full-", old, release.content, SMALL_SECTORS, 512)
    count = kind.operations(bench.key.public)
    cuts = [Cut(number, applied) for applied in APPLIED for number in range(1, count + 1)]
    devices = kind.devices(cuts, bench.folder / "cut", ("127.0.0.1", bench.suite.port("lwm2m")), (bench.key.public,))
    with switched_on(devices):
        known = "SELECT 1 FROM target WHERE controller_id LIKE 'cut-%%' AND telemetry ? '/3/0/3'"
        bench.until(lambda: len(bench.rows(known)) == len(devices), "all devices known by their versions", 120)
        rollout = bench.roll_out(release, query="name==cut-*", groups=1, errors=100)
        bench.wait_for_end(rollout, CAMPAIGN_SECONDS)
        fates = require_agreement(bench, devices, release)
    print(f"{len(devices)} power cuts: {dict(fates)}")
