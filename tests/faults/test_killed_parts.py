"""kill -9 of every part at four points of a running rollout: it ends as if nothing had happened."""

import time

import pytest
from bench import Bench

AWAY_SECONDS = 2.0
PARTS = {
    "gateway": ("gateway",),
    "proxy": ("proxy",),
    "workers": ("worker", "worker-2"),
    "beat": ("beat",),
    "api": ("api",),
    "redis": ("redis",),
    "postgres": ("postgres",),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_rollout_ends_as_if_nothing_had_happened(bench: Bench, part: str) -> None:
    names = PARTS[part]
    release = bench.release()
    with bench.counted() as grown:
        rollout = bench.create(release)
        with bench.away(*names):
            time.sleep(AWAY_SECONDS)
        bench.begin(rollout)
        bench.until_downloading(rollout)
        with bench.away(*names):
            time.sleep(AWAY_SECONDS)
        bench.until_phase("downloaded", "executing", "rebooting")
        with bench.away(*names):
            time.sleep(AWAY_SECONDS)
        bench.until_phase("verifying")
        with bench.away(*names):
            time.sleep(AWAY_SECONDS)
        bench.wait_for_end(rollout)
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)
