"""The power of the whole fleet goes in the middle of a download, and in the middle of a swap."""

import time

from bench import BLOCKS_PER_SECTOR, DEVICES, Bench


def test_a_download_goes_on_where_the_power_went(bench: Bench) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release, groups=1)
        bench.until_downloading(rollout, 20, 60)
        with bench.away("devices"):
            cut = {name: one["downloadOffset"] or 0 for name, one in bench.flashes().items()}
            time.sleep(1.0)
        bench.wait_for_end(rollout)
    # On a busy machine a device may not have begun when another is half way; it then just begins after the cut.
    assert all(offset < release.size for offset in cut.values()), cut
    assert sum(offset > 0 for offset in cut.values()) > DEVICES / 2, cut
    bench.require_updated(rollout, release, grown, boots=2)
    for name, counters in grown.items():
        # A sector that was cut while it was written is fetched again, nothing else.
        assert counters["restarts"] == 0, name
        assert release.blocks <= counters["blocksFetched"] <= release.blocks + BLOCKS_PER_SECTOR, name


def test_a_swap_goes_on_where_the_power_went(bench: Bench) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release, groups=1, errors=100)
        cut = bench.cut_in_swap()
        bench.suite.restart("devices")
        bench.wait_for_end(rollout)
    swapping = {name for name, one in cut.items() if one["swapping"]}
    tried = {name for name, one in cut.items() if one["runningVersion"] == release.version and not one["confirmed"]}
    # A device that ran the new image unconfirmed when the power went is reverted by MCUboot, and rightly so.
    on_trial = tried - swapping
    assert swapping and len(on_trial) < DEVICES
    timelines = {name: bench.manager.timeline(name)["attempts"][0] for name in bench.names}
    became = {name: one["cause"] or one["status"] for name, one in timelines.items()}
    for name, flash in bench.flashes().items():
        assert flash["confirmed"] and flash["swapDue"] is None, (name, flash)
        assert (flash["runningVersion"] == release.version) == (name not in on_trial), (name, flash)
        assert became[name] == ("rolled_back" if name in on_trial else "finished"), (name, became[name])
        assert (grown[name]["installs"], grown[name]["reverts"]) == (1, int(name in on_trial)), name
    assert {became[name] for name in swapping} == {"finished"}
