"""Two workers share the steps; one is killed in the midst of them, and no step is done twice or left out."""

import time
from collections.abc import Callable
from typing import Any

from bench import DEVICES, GROUPS, Bench, Release

GROUP = DEVICES // GROUPS


def midway(bench: Bench, query: str, *values: Any, of: int) -> Callable[[], bool]:
    """Whether a step that writes `of` rows one by one has written some and not all."""
    return lambda: 0 < bench.rows(f"SELECT count(*) AS n FROM {query}", *values)[0]["n"] < of


def test_no_step_is_done_twice_when_a_worker_dies_in_the_midst(bench: Bench) -> None:
    release: Release = bench.release()
    with bench.counted() as grown:
        rollout = bench.create(release)
        bench.until(
            midway(bench, "rollout_target WHERE rollout_id = %s", rollout, of=DEVICES), "targets half collected"
        )
        with bench.away("worker"):
            bench.begin(rollout)
            begun = "action WHERE rollout_id = %s"
            bench.until(midway(bench, begun, rollout, of=GROUP), "the first group half begun")
        with bench.away("worker-2"):
            bench.until(lambda: len(actions(bench, rollout)) == GROUP, "the rest of the first group")
        second = "(SELECT 1 FROM action WHERE rollout_id = %s OFFSET %s) later"
        bench.until(midway(bench, second, rollout, GROUP, of=GROUP), "the second group half begun")
        with bench.away("worker", "worker-2"):
            time.sleep(1.0)
        bench.wait_for_end(rollout)
    members = bench.rows("SELECT target_id, group_id FROM rollout_target WHERE rollout_id = %s", rollout)
    assert {(one["target_id"], one["group_id"]) for one in members} == actions(bench, rollout)
    assert len(members) == DEVICES
    bench.require_updated(rollout, release, grown)
    bench.require_no_block_twice(release, grown)


def actions(bench: Bench, rollout: int) -> set[tuple[int, int]]:
    """Target and group of each action of a rollout."""
    rows = bench.rows("SELECT target_id, rollout_group_id FROM action WHERE rollout_id = %s", rollout)
    return {(one["target_id"], one["rollout_group_id"]) for one in rows}
