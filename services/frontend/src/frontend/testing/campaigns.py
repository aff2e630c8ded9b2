"""Invented rollouts: one that moves, one that paused itself, one ready, two over."""

from typing import Any, Final

from frontend.testing.fleet import DAY, HOSTILE, HOSTILE_TEXT, MINUTE, ROLLED_BACK, SECOND
from frontend.testing.journeys import ROLLED_BACK_TEXT

Json = dict[str, Any]
RUNNING: Final = 1
PAUSED: Final = 2
READY: Final = 3
# what a status becomes by a button
MOVES: Final = {
    ("ready", "start"): "running",
    ("running", "pause"): "paused",
    ("paused", "resume"): "running",
    ("running", "stop"): "stopped",
    ("paused", "stop"): "stopped",
}


def rollouts(now: int) -> list[Json]:
    """In the shape of `GET /rollouts?representation=full`, newest first."""
    return [
        _rollout(READY, "Water meters to 3.0.1", "ready", 7, "targettype.key==meter", 50, now - 20 * MINUTE),
        _rollout(RUNNING, "Soil sensors to 2.4.0", "running", 11, "targettype.key==soil-sensor", 240,
                 now - 55 * MINUTE, finished=131, running=19, error=6, notstarted=78),
        _rollout(PAUSED, "Pump controllers to 1.9.2", "paused", 9, "targettype.key==pump", 121, now - 8 * DAY,
                 finished=32, error=13, notstarted=76),
        _rollout(4, "Soil sensors to 2.3.1", "finished", 10, "targettype.key==soil-sensor", 240, now - 40 * DAY,
                 finished=238, error=2),
        _rollout(5, "Pump lab trial", "stopped", 8, "controllerId==pump-000*", 9, now - 80 * DAY, finished=4,
                 cancelled=5),
    ]  # fmt: skip


def progress(rollout: Json, release: Json, now: int, step: int) -> Json:
    """In the shape of `GET /rollouts/{id}/progress`; each `step` confirms one more device of a running rollout."""
    counts = rollout["totalTargetsPerStatus"]
    moved = min(step, counts["running"]) if rollout["status"] == "running" else 0
    already = rollout["totalTargets"] - sum(counts.values())
    totals = {
        "notStarted": counts["notstarted"],
        "scheduled": counts["scheduled"],
        "running": counts["running"] - moved,
        "finished": counts["finished"] + moved + already,
        "error": counts["error"],
        "cancelled": counts["cancelled"],
        "alreadyInstalled": already,
    }
    running = rollout["status"] == "running"
    return {
        "rollout": rollout,
        "distributionSet": release,
        "status": rollout["status"],
        "percent": round(
            100 * (totals["finished"] + totals["error"] + totals["cancelled"]) / rollout["totalTargets"], 1
        ),
        "judgement": _judgement(rollout),
        "totals": totals,
        "groups": _groups(rollout, totals),
        "causes": _causes(rollout),
        "inFlight": _in_flight(moved) if running else [],
        "events": _events(now) if running else [],
        "bytesOnAir": 41_203_110 + moved * 262_000,
        "delivery": {"arrivedByDelta": 88, "bytesSaved": 18_432_000, "fellBackToFull": 2},
        "forecast": {"byDelta": 140, "byFull": 12, "unknown": 3, "bytesFull": 36_953_860, "bytesPlanned": 8_400_000},
        "startedAt": None if rollout["status"] == "ready" else rollout["createdAt"] + MINUTE,
        "endedAt": rollout["createdAt"] + 90 * MINUTE if rollout["status"] in ("finished", "stopped") else None,
        "etaSeconds": 1_500 if running else None,
    }


def _rollout(
    identity: int, name: str, status: str, release: int, query: str, targets: int, at: int, **counts: int
) -> Json:
    zero = dict.fromkeys(("running", "notstarted", "scheduled", "cancelled", "finished", "error"), 0)
    per_status = zero | (counts or {"notstarted": targets})
    return {
        "id": identity,
        "name": name,
        "description": "",
        "status": status,
        "targetFilterQuery": query,
        "distributionSetId": release,
        "totalTargets": targets,
        "totalTargetsPerStatus": per_status,
        "createdAt": at,
        "type": "forced",
        "deleted": False,
    }


def _judgement(rollout: Json) -> str:
    return {
        RUNNING: "On course: 6 of 137 ended attempts failed (4.4 %), well below the 20 % that would pause it; "
        "4 of the 6 lost their connection.",
        PAUSED: "Paused itself: 13 of 45 ended attempts in group 2 failed (28.9 %), above the 20 % allowed. "
        "12 of the 13 have too little flash for the image.",
        READY: "Ready: nothing has been sent yet.",
    }.get(rollout["id"], "Over: every device that was asked has answered.")


def _groups(rollout: Json, totals: Json) -> list[Json]:
    names = ("group-1", "group-2", "group-3", "group-4")
    whole, left = rollout["totalTargets"], dict(totals)
    sizes = [max(whole // 20, 1), whole // 5, whole // 4]
    groups = []
    for number, targets in enumerate([*sizes, whole - sum(sizes)], start=1):
        room = targets
        given = {}
        for key in ("finished", "error", "cancelled", "running", "scheduled", "notStarted"):
            given[key] = min(room, left[key])
            left[key] -= given[key]
            room -= given[key]
        moving = given["running"] > 0
        untouched = given["notStarted"] + given["scheduled"] == targets
        status = "running" if moving else "scheduled" if untouched else "finished"
        groups.append(
            {
                "id": rollout["id"] * 10 + number,
                "name": names[number - 1],
                "status": "paused" if rollout["status"] == "paused" and given["error"] else status,
                "targets": targets,
                "successThreshold": 50,
                "errorThreshold": 20,
                "alreadyInstalled": min(given["finished"], totals["alreadyInstalled"]) if number == 1 else 0,
                "percent": round(100 * (given["finished"] + given["error"] + given["cancelled"]) / targets, 1),
                **{key: count for key, count in given.items() if key != "scheduled"},
            }
        )
    return groups


def _causes(rollout: Json) -> list[Json]:
    if rollout["id"] == RUNNING:
        lost = ["soil-0044", "soil-0058", "soil-0102", "soil-0133"]
        return [
            {"cause": "connection_lost", "text": "The device stopped answering during the download and did not come "
             "back within 6 h.", "count": 4, "controllerIds": lost},
            {"cause": "rolled_back", "text": ROLLED_BACK_TEXT, "count": 1, "controllerIds": [ROLLED_BACK]},
            {"cause": "integrity_check_failed", "text": "The device found a wrong hash after the download.",
             "count": 1, "controllerIds": ["soil-0151"]},
        ]  # fmt: skip
    if rollout["id"] == PAUSED:
        ids = [f"pump-{n:04d}" for n in range(20, 32)]
        return [
            {"cause": "not_enough_flash", "text": "The image needs 412 880 bytes, the slot holds 393 216.",
             "count": 12, "controllerIds": ids},
            {"cause": "device_refused", "text": HOSTILE_TEXT, "count": 1, "controllerIds": [HOSTILE]},
        ]  # fmt: skip
    return []


def _in_flight(moved: int) -> list[Json]:
    rows = []
    for index in range(8):
        offset = min(238_412, 9_216 + index * 31_232 + moved * 4_096)
        done = offset == 238_412
        rows.append(
            {
                "controllerId": f"soil-{31 + index * 3:04d}",
                "phase": "rebooting" if done else "downloading",
                "offset": offset,
                "size": 238_412,
                "percent": round(100 * offset / 238_412, 1),
                "rateBytesPerSecond": None if done else 1_800 + 90 * index,
            }
        )
    return rows


def _events(now: int) -> list[Json]:
    lines = (
        (4, "soil-0029", "succeeded", "Runs 2.4.0, confirmed itself"),
        (11, "soil-0031", "downloading", "Resumed at byte 131 072 after a restart of the device"),
        (38, "soil-0133", "failed", "Stopped answering during the download"),
        (52, "soil-0027", "succeeded", "Runs 2.4.0, confirmed itself"),
        (70, "soil-0040", "offered", "Package URI written"),
        (95, ROLLED_BACK, "rolled_back", "Registered again with 2.3.1"),
        (140, "", "rollout", "Group 3 began: group 2 reached 50 % confirmed"),
    )
    return [
        {"at": now - seconds * SECOND, "controllerId": who or None, "kind": kind, "text": text}
        for seconds, who, kind, text in lines
    ]
