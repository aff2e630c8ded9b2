"""A gateway or a proxy killed in the middle of a download costs no device a block."""

import time
from typing import Any

from bench import BLOCK_BYTES, DEVICES, Bench, Release

RETRANSMITTED = 3 * BLOCK_BYTES


def downloads(bench: Bench, release: Release) -> list[dict[str, Any]]:
    """What the proxy reported of each device's download."""
    rows = bench.rows("SELECT download FROM action WHERE distribution_set_id = %s", release.set_id)
    return [row["download"] for row in rows]


def test_downloads_do_not_notice_a_killed_gateway(bench: Bench) -> None:
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.roll_out(release, groups=1)
        bench.until_downloading(rollout, 10, 40)
        before = bench.suite.proxy_stats()["blocks"]
        with bench.away("gateway"):
            time.sleep(2.0)
            assert bench.suite.proxy_stats()["blocks"] > before + DEVICES, "blocks flow without a gateway"
        bench.wait_for_end(rollout)
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)
    for download in downloads(bench, release):
        assert download["restarts"] == 0
        assert download["offset"] == release.size
        assert download["repeatedBytes"] <= RETRANSMITTED, "but for single datagrams that a slow machine sent again"


def test_downloads_go_on_at_the_same_block_after_a_killed_proxy(bench: Bench) -> None:
    release = bench.release()
    before = bench.suite.proxy_stats()["upstreamBytes"]
    with bench.counted() as grown:
        rollout = bench.roll_out(release, groups=1)
        bench.until_downloading(rollout, 10, 60)
        assert bench.suite.proxy_stats()["upstreamBytes"] == before + release.size, "fetched once, however many asked"
        with bench.away("proxy"):
            time.sleep(3.0)
        bench.wait_for_end(rollout)
        after = bench.suite.proxy_stats()
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)
    assert (after["upstreamRequests"], after["upstreamBytes"]) == (0, 0), "the image was still on its disk"
    assert 0 < after["bytesOnAir"] < release.size * DEVICES, "it served the rest only"
    for download in downloads(bench, release):
        assert download["restarts"] == 0
        assert download["repeatedBytes"] <= RETRANSMITTED, "the block that was asked for when the proxy died"
        assert download["offset"] == release.size
