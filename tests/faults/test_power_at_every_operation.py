"""The power goes at every flash operation of an update, in one campaign: each device loses it at another one.

Whatever happens, the old or the new version boots, and the server's record says which.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import Bench, Release
from cut_fleet import Kind, switched_on

from firmware_delta.creation import create
from softdevice import images
from softdevice.board import SLOT_SECTORS
from softdevice.device import Device
from softdevice.flash import Cut

SMALL_SECTORS = 8
# A torn operation has done its first unit. All of them are torn in the device's own tests; here, some.
UNIT_BYTES = 4
TORN_EVERY = 3
SAMPLES = 8
CAMPAIGN_SECONDS = 240.0


def noise(name: str, count: int) -> bytes:
    """Reproducible bytes in which nothing repeats."""
    return b"".join(hashlib.sha256(f"{name} {index}".encode()).digest() for index in range(count))


def require_agreement(bench: Bench, devices: list[Device], base: Release, release: Release) -> Counter[str]:
    """Flash, record and what the device said last tell the same; how many devices had which fate, delivered how."""
    fates: Counter[str] = Counter()
    runs: dict[str, str] = {}
    for device in devices:
        flash = device.board.contents()
        attempt = bench.manager.timeline(device.name)["attempts"][0]
        fate = attempt["cause"] or attempt["status"]
        story = (device.name, fate, flash, attempt)
        assert device.board.flash.cut is None, ("the power did go", *story)
        assert fate in ("finished", "rolled_back"), story
        runs[device.name] = release.version if fate == "finished" else base.version
        assert str(flash.running) == runs[device.name] and flash.confirmed and not flash.swapping, story
        fates[f"{fate} by {attempt['delivery']['kind']}"] += 1

    def reported() -> bool:
        rows = bench.rows(
            "SELECT controller_id, telemetry->>'/3/0/3' AS version FROM target WHERE controller_id = ANY(%s)", [*runs]
        )
        return {row["controller_id"]: row["version"] for row in rows} == runs

    bench.until(reported, "every device's own word to agree with its flash")
    return fates


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A suite of its own, whose workers take many targets in one step; the devices are made by the test."""
    # Not pytest's own folder: another pytest that starts closes that one to PostgreSQL's user.
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="updraft-cuts-") as folder:
        patch.delenv("UPDATE_MANAGER_STEP_BATCH_SIZE", raising=False)
        made = Bench(Path(folder), devices=0)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_old_or_new_version_boots_after_a_cut_at_every_flash_operation_of_an_update(bench: Bench) -> None:
    """Of small images every operation, of real ones samples; each full and by delta, clean, and some torn."""
    middle = noise("old", 96)
    small = bench.publish("0.9.0", images.sign(middle + noise("end", 96), "0.9.0", bench.key))
    real = bench.publish("0.8.0", images.sign(bench.payloads[0], "0.8.0", bench.key))
    stories = []
    for name, base, sectors, samples, block_sizes, release in (
        ("small", small, SMALL_SECTORS, None, (512, 64), bench.release(middle + noise("new", 20) + noise("end", 96))),
        ("real", real, SLOT_SECTORS, SAMPLES, (1024, 1024), bench.release(bench.payloads[1])),
    ):
        full = Kind(f"cut-{name}-full-", base.content, release.content, sectors, block_sizes[0])
        delta = create(base.content, release.content).data
        by_delta = Kind(f"cut-{name}-delta-", base.content, delta, sectors, block_sizes[1], takes_deltas=True)
        devices = []
        for kind in (full, by_delta):
            every = kind.operations(bench.key.public)
            cuts = [Cut(number) for number in range(1, every + 1)]
            cuts += [Cut(number, UNIT_BYTES) for number in range(1, every + 1, TORN_EVERY)]
            chosen = cuts if samples is None else cuts[:: len(cuts) // samples]
            devices += kind.devices(
                chosen, bench.folder / "cut", ("127.0.0.1", bench.suite.port("lwm2m")), (bench.key.public,)
            )
            print(f"{kind.prefix}: {every} flash operations, {len(chosen)} power cuts")
        stories.append((f"cut-{name}-*", devices, base, release))
    everybody = [device for _, devices, _, _ in stories for device in devices]
    with switched_on(everybody):
        known = "SELECT 1 FROM target WHERE controller_id LIKE 'cut-%%' AND telemetry ? '/3/0/3'"
        bench.until(lambda: len(bench.rows(known)) == len(everybody), "all devices known by their versions", 120)
        rollouts = [
            bench.roll_out(release, query=f"name=={names}", groups=1, errors=100) for names, _, _, release in stories
        ]
        for rollout, (names, devices, base, release) in zip(rollouts, stories, strict=True):
            bench.wait_for_end(rollout, CAMPAIGN_SECONDS)
            fates = require_agreement(bench, devices, base, release)
            print(f"{names}: {dict(fates)}")
            assert fates["finished by delta"] > len(devices) / 4, "power cuts are survived in the midst of deltas"
