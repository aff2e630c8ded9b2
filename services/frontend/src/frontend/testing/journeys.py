"""What happened to the invented devices: attempts with their phases, logs and messages on the wire."""

from typing import Any, Final

from frontend.testing.fleet import DOWNLOADING, HOSTILE, HOSTILE_TEXT, MINUTE, ROLLED_BACK, SECOND

Json = dict[str, Any]
ROLLED_BACK_TEXT: Final = (
    "The device booted 2.4.0, which did not confirm itself within 90 s, and MCUboot put 2.3.1 back. "
    "The device runs 2.3.1 and is well."
)
_TEXTS: Final = {
    "assigned": ("Assigned by the rollout", None, None),
    "offered": ("Package URI written to 5/0/1", 0, 0),
    "downloading": ("Pulling 238 412 bytes in blocks of 512", 1, 0),
    "downloaded": ("Whole image received, SHA-256 matches", 2, 0),
    "executing": ("Update executed (5/0/2)", 3, 0),
    "rebooting": ("No answer while it restarts", None, None),
    "verifying": ("Registered again; reading 3/0/3 and 5/0/5", 0, 1),
    "succeeded": ("Runs 2.4.0", 0, 1),
    "rolled_back": ("Registered again with 2.3.1", 0, 8),
}


def timeline(controller_id: str, now: int, release: Json | None, status: str) -> Json:
    """In the shape of `GET /targets/{id}/timeline`."""
    if controller_id == ROLLED_BACK:
        return _rolled_back(now, release)
    if controller_id == DOWNLOADING or status == "pending":
        return _downloading(now, release)
    if controller_id == HOSTILE:
        return _hostile(now, release)
    if release is None:
        return {"attempts": [], "trace": []}
    start = now - 40 * MINUTE
    way = ("assigned", "offered", "downloading", "downloaded", "executing", "rebooting", "verifying", "succeeded")
    done = _attempt(31, start, release, way, {"status": "finished", "active": False, "endedAt": start + 7 * MINUTE})
    return {"attempts": [done], "trace": _trace(start)}


def events(controller_id: str, now: int) -> list[Json]:
    """In the shape of `GET /targets/{id}/events`."""
    if controller_id == HOSTILE:
        return [{"at": now, "kind": "<b>kind</b>", "text": HOSTILE_TEXT}]
    return [
        {"at": now - 40 * SECOND, "kind": "presence", "text": "Reported in, lifetime 900 s, queue mode"},
        {"at": now - 6 * MINUTE, "kind": "telemetry", "text": "Battery 81 %, signal −94 dBm"},
        {"at": now - 41 * MINUTE, "kind": "assigned", "text": "Soil sensor firmware 2.4.0 assigned"},
    ]


def _rolled_back(now: int, release: Json | None) -> Json:
    start = now - 38 * MINUTE
    way = ("assigned", "offered", "downloading", "downloaded", "executing", "rebooting", "verifying", "rolled_back")
    first = _attempt(12, start - 3_000 * MINUTE, {"id": 10, "name": "Soil sensor firmware", "version": "2.3.1"},
                     (*way[:-1], "succeeded"),
                     {"status": "finished", "active": False, "endedAt": start - 2_990 * MINUTE})  # fmt: skip
    failed = _attempt(
        57, start, release, way,
        {
            "status": "error", "active": False, "endedAt": start + 9 * MINUTE, "cause": "rolled_back",
            "causeText": ROLLED_BACK_TEXT,
            "log": [
                {"at": start + 9 * MINUTE, "status": "error", "messages": ["cause: rolled_back", "Firmware version is "
                 "still 2.3.1 after the restart; 5/0/5 = 8 (update failed)"], "code": "8", "cause": "rolled_back"},
                {"at": start + 6 * MINUTE, "status": "running", "messages": ["Update executed"], "code": None},
                {"at": start + 5 * MINUTE, "status": "downloaded", "messages": ["238 412 bytes"], "code": None},
            ],
        },
    )  # fmt: skip
    return {"attempts": [failed, first], "trace": _trace(start)}


def _downloading(now: int, release: Json | None) -> Json:
    download = {
        "size": 238_412, "offset": 148_992, "percent": 62.5, "rateBytesPerSecond": 2_310.4, "bytesOnAir": 171_030,
        "repeatedBytes": 4_608, "restarts": 1,
    }  # fmt: skip
    full = {"kind": "full", "size": 238_412, "fullSize": 238_412, "deltaSize": 31_930}
    rest = {"status": "running", "active": True, "endedAt": None, "download": download, "delivery": full}
    attempt = _attempt(58, now - 2 * MINUTE, release, ("assigned", "offered", "downloading"), rest)
    return {"attempts": [attempt], "trace": _trace(now - 2 * MINUTE)[-3:]}


def _hostile(now: int, release: Json | None) -> Json:
    rest = {
        "status": "error", "active": False, "endedAt": now, "cause": HOSTILE_TEXT, "causeText": HOSTILE_TEXT,
        "log": [{"at": now, "status": HOSTILE_TEXT, "messages": [HOSTILE_TEXT], "code": HOSTILE_TEXT}],
    }  # fmt: skip
    attempt = _attempt(59, now - MINUTE, release, ("assigned", "<i>phase"), rest)
    return {"attempts": [attempt], "trace": [{"at": now, "direction": "in", "text": HOSTILE_TEXT, "ok": False}]}


def _attempt(identity: int, start: int, release: Json | None, way: tuple[str, ...], rest: Json) -> Json:
    minutes = (0, 0.1, 0.3, 5, 5.2, 5.4, 6.8, 9)
    phases = [
        {
            "phase": phase,
            "at": start + int(minutes[index] * MINUTE),
            **dict(zip(("text", "state", "result"), _TEXTS.get(phase, (HOSTILE_TEXT, None, None)), strict=True)),
        }
        for index, phase in enumerate(way)
    ]
    return {
        "actionId": identity,
        "distributionSet": release,
        "rollout": {"id": 1, "name": "Soil sensors to 2.4.0"},
        "startedAt": start,
        "cause": None,
        "causeText": None,
        "phase": way[-1],
        "phases": phases,
        "download": {
            "size": 238_412, "offset": 238_412, "percent": 100.0, "rateBytesPerSecond": 842.1, "bytesOnAir": 262_870,
            "repeatedBytes": 0, "restarts": 0,
        },
        "log": [],
        **rest,
    }  # fmt: skip


def _trace(start: int) -> list[Json]:
    lines = (
        (0.1, "out", 'PUT /5/0/1 "coap://updates/f/8Zq1xY-4kT0w/soil-sensor-2.4.0.bin"', True),
        (0.1, "in", "2.04 Changed", True),
        (0.3, "in", "Notify /5/0/3 = 1", True),
        (5.0, "in", "Notify /5/0/3 = 2", True),
        (5.2, "out", "POST /5/0/2", True),
        (5.2, "in", "2.04 Changed", True),
        (6.1, "out", "GET /3/0/3 (no answer, 4 tries)", False),
        (6.8, "in", "POST /rd?ep=soil-0017&lt=900&lwm2m=1.1&b=UQ", True),
        (6.9, "out", "GET /3/0/3", True),
        (6.9, "in", '2.05 Content "2.3.1"', True),
        (7.0, "in", "Notify /5/0/5 = 8", False),
    )
    return [
        {"at": start + int(minute * MINUTE), "direction": direction, "text": text, "ok": ok}
        for minute, direction, text, ok in reversed(lines)
    ]
