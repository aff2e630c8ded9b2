"""`make demo DELTA=1`: two lines of real firmware updated by deltas, and what that saved on the air.

Three real Zephyr builds are three releases of one product. Most devices run the second and go to the third; the others
run the first and go to the second. Some take no deltas and get the whole image; one spoils what it is given, so its
delta fails and the whole image follows by itself.
"""

import time
from pathlib import Path
from typing import Any, Final

from softdevice import images
from softdevice.inspection import inspect_fleet
from updraft_local import firmware
from updraft_local.firmware import Firmware
from updraft_local.management import Management
from updraft_local.showing import fates, say, watch
from updraft_local.stopping import StopRequest
from updraft_local.suite import Line, Options, Suite

OLDEST_VERSION: Final = "0.9.0"
# Of four devices, how many are of the newer line.
NEWER: Final = 3
MISBEHAVING: Final = {2: "reboots_mid_download", 9: "takes_no_deltas", 18: "corrupts_deltas"}
WORTH: Final = 0.25
EXPECTED: Final = {"takes_no_deltas": "full", "corrupts_deltas": "delta, then full"}


def lines_of(scratch: Path, bench: Firmware, devices: int) -> tuple[Line, Line]:
    """The newer and the older line of `devices` together; the older one's image is made in `scratch`."""
    oldest = scratch / f"hci_usb-{OLDEST_VERSION}.signed.bin"
    key = images.load_key(bench.private_key)
    oldest.write_bytes(images.sign(images.zephyr_payload(images.ZEPHYR_LEGACY), OLDEST_VERSION, key))
    newer = -(-devices * NEWER // 4)
    return Line("bridge-", newer, bench.old, MISBEHAVING), Line("old-bridge-", devices - newer, oldest)


def campaign(
    scratch: Path, bench: Firmware, devices: int, request: StopRequest, seen: dict[str, Any]
) -> dict[str, Any]:
    """Run it all in `scratch`; the summary's `ok` says whether it ended as it should, `seen` how far it came."""
    began = time.monotonic()
    lines = lines_of(scratch, bench, devices)
    suite = Suite(Options(scratch, bench, lines=tuple(line for line in lines if line.devices)))
    try:
        say("starting PostgreSQL, Redis, update manager, gateway, proxy, console and devices")
        suite.start()
        manager = suite.management()
        manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, bench.public_keys)
        say(f"waiting for {devices} devices to register")
        suite.wait_online()
        oldest, old, new = (
            manager.publish(path, firmware.PRODUCT_KEY) for path in (lines[1].image, bench.old, bench.new)
        )
        rollouts = []
        for line, base, release in ((lines[0], old, new), (lines[1], oldest, old)):
            if line.devices:
                say(f"{line.devices} devices from {base['version']} to {release['version']}")
                rollouts.append((_start(manager, line, release), line, release))
        found: dict[str, dict[str, Any]] = {}
        for rollout, line, release in rollouts:
            watch(suite, manager, rollout, seen)
            for name, fate in fates(manager, line.names).items():
                found[name] = {**fate, "version": release["version"], "fullSize": release["artifact"]["size"]}
        on_air = suite.proxy_stats()["bytesOnAir"]
        suite.stop_fleet()
        flashes = {one["endpoint"]: one for one in inspect_fleet(suite.devices_folder)}
        misbehaving = {lines[0].names[n - 1]: kind for n, kind in MISBEHAVING.items() if n <= lines[0].devices}
        return summary(found, flashes, misbehaving, on_air, round(time.monotonic() - began, 1))
    finally:
        request.disarm()
        say("stopping")
        suite.stop(request.hurry.is_set)


def _start(manager: Management, line: Line, release: dict[str, Any]) -> int:
    """A rollout of `release` to all of a line, running."""
    rollout = manager.create_rollout(
        f"{line.prefix}to {release['version']}",
        release["distributionSetId"],
        query=f"name=={line.prefix}*",
        groups=1,
        errorCondition={"condition": "THRESHOLD", "expression": "100"},
    )
    manager.post(f"/rollouts/{rollout}/start")
    return rollout


def summary(
    found: dict[str, dict[str, Any]],
    flashes: dict[str, dict[str, Any]],
    misbehaving: dict[str, str],
    on_air: int,
    seconds: float,
) -> dict[str, Any]:
    """Compare record, delivery and flash of each device; `ok` also needs what was saved to be worth it."""
    wrong, devices = [], {}
    for name, fate in found.items():
        flash = flashes.get(name, {})
        delivery = fate["delivery"]
        way = (
            "delta, then full" if delivery.get("kind") == "full" and delivery.get("deltaSize") else delivery.get("kind")
        )
        if fate["status"] != "finished" or flash.get("runningVersion") != fate["version"] or not flash.get("confirmed"):
            wrong.append(f"{name}: {fate['status']}, {fate['text']}, flash says {flash}")
        if way != EXPECTED.get(misbehaving.get(name, ""), "delta"):
            wrong.append(f"{name}: delivered by {way}")
        devices[name] = {
            "version": fate["version"],
            "delivery": way,
            "bytes_on_air": fate["bytesOnAir"],
            "full_bytes": fate["fullSize"],
        }
        if kind := misbehaving.get(name):
            devices[name]["misbehaves"] = kind
            say(f"{name} ({kind.replace('_', ' ')}): {fate['status']} by {way}, {fate['bytesOnAir']} bytes")
    full = sum(fate["fullSize"] for fate in found.values())
    # Measured, not only reckoned: who got a whole image and nothing else.
    measured = {one["bytes_on_air"] / one["full_bytes"] for one in devices.values() if one["delivery"] == "full"}
    if any(not 1 <= share <= 1.02 for share in measured):
        wrong.append(f"a whole image took {max(measured):.3f} times its size on the air")
    ratio = round(on_air / full, 4)
    if ratio > WORTH:
        wrong.append(f"{on_air} bytes on the air are {ratio:.0%} of {full}, at most {WORTH:.0%} were promised")
    for line in wrong:
        say(line)
    return {
        "ok": not wrong,
        "devices": len(devices),
        "updated": sum(fate["status"] == "finished" for fate in found.values()),
        "by_delta": sum(one["delivery"] == "delta" for one in devices.values()),
        "bytes_on_air": on_air,
        "bytes_on_air_full": full,
        "ratio": ratio,
        "seconds": seconds,
        "deliveries": devices,
    }
