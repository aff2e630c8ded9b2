"""An invented fleet: three products, 412 devices, one that rolled back, one whose texts attack the page."""

import random
from typing import Any, Final

Json = dict[str, Any]
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

ROLLED_BACK: Final = "soil-0017"
HOSTILE: Final = "pump-<b>\"0'&"
HOSTILE_TEXT: Final = '<script>alert("x")</script><img src=x onerror=alert(1)> \u202etxet\x1b[31m'
HOSTILE_TEXT_ESCAPED: Final = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"
DOWNLOADING: Final = "soil-0031"
SLASHED: Final = "meter/7?a=b"

PRODUCTS: Final[list[Json]] = [
    {"id": 1, "key": "soil-sensor", "name": "Soil sensor", "description": "nRF9160, 1 MiB flash, NB-IoT, sleeps"},
    {"id": 2, "key": "pump", "name": "Pump controller", "description": "nRF52840 behind a border router"},
    {"id": 3, "key": "meter", "name": "Water meter", "description": "STM32L4, LTE-M"},
]
KEYS: Final[dict[int, list[Json]]] = {
    1: [
        {
            "id": 1,
            "name": "release key 2026",
            "fingerprint": "fc5701dc6135e1323847bdc40f04d2e5bee5833b23c29f93593d00018cfa9994",
            "algorithm": "ECDSA P-256",
            "createdAt": 1_760_000_000_000,
        },
        {
            "id": 2,
            "name": "field lab",
            "fingerprint": "1d0b7a4dcb6b9a11c9e5f3bd4e54cbdb7c8e52b7b7a2a3e5c2f9b1d3a7e6c544",
            "algorithm": "Ed25519",
            "createdAt": 1_772_000_000_000,
        },
    ],
    2: [
        {
            "id": 3,
            "name": "pumps",
            "fingerprint": "7f1a4f7adf5bb1d4ad9db1a02c77e4c66b53d0fc1e1a8de0d0b59d5f2f1c8f02",
            "algorithm": "RSA-2048 PSS",
            "createdAt": 1_755_000_000_000,
        }
    ],
    3: [],
}
_RELEASES: Final = (
    (11, 0, "Soil sensor firmware", "2.4.0", 238_412, "0.6 d"),
    (10, 0, "Soil sensor firmware", "2.3.1", 236_004, "41 d"),
    (9, 1, "Pump firmware", "1.9.2", 412_880, "9 d"),
    (8, 1, "Pump firmware", "1.9.0", 411_104, "80 d"),
    (7, 2, "Meter firmware", "3.0.1", 187_220, "3 d"),
)


def releases(now: int) -> list[Json]:
    """Newest first, in the shape of `GET /releases`."""
    return [_release(*row, now=now) for row in _RELEASES]


def release(identity: int, product: Json, name: str, version: str, size: int, filename: str, at: int) -> Json:
    """One release, with what an inspector reads from an MCUboot image."""
    digest = random.Random(identity).randbytes(32).hex()
    key = KEYS[product["id"]][0]["fingerprint"] if KEYS[product["id"]] else "e3b0c44298fc1c149afbf4c8996fb924"
    return {
        "distributionSetId": identity,
        "name": name,
        "version": version,
        "targetType": {key: product[key] for key in ("id", "key", "name")},
        "createdAt": at,
        "artifact": {"id": identity, "filename": filename, "size": size, "sha256": digest},
        "facts": {
            "format": "MCUboot",
            "version": f"{version}+0",
            "securityCounter": identity,
            "headerSize": 512,
            "imageSize": size - 512 - 152,
            "loadAddress": 0,
            "signature": "ECDSA",
            "keyHash": key,
            "hashAlgorithm": "SHA-256",
            "imageHash": digest[::-1],
        },
        "tlvs": [
            {"type": 0x10, "name": "SHA256", "length": 32, "value": digest[::-1]},
            {"type": 0x01, "name": "KEYHASH", "length": 32, "value": key},
            {"type": 0x22, "name": "ECDSA_SIG", "length": 71, "value": "3045022100" + digest + digest[:56]},
            {"type": 0x50, "name": "SEC_CNT", "length": 4, "value": f"{identity:08x}"},
        ],
    }


def targets(now: int) -> list[Json]:
    """All devices, in the shape of `GET /targets`."""
    dice = random.Random(7)
    old, new = _short(_by_id(10)), _short(_by_id(11))
    found = [_target(f"soil-{n:04d}", 0, dice, now, old, new) for n in range(1, 241)]
    found += [_target(f"pump-{n:04d}", 1, dice, now, _short(_by_id(8)), _short(_by_id(9))) for n in range(1, 121)]
    found += [_target(f"meter-{n:04d}", 2, dice, now, None, None) for n in range(1, 50)]
    found += [_target(HOSTILE, 1, dice, now, _short(_by_id(8)), _short(_by_id(9)))]
    found += [_target(SLASHED, 2, dice, now, None, None)]
    known = {one["controllerId"]: one for one in found}
    known[ROLLED_BACK] |= {
        "updateStatus": "error",
        "presence": _presence("online", now, 40 * SECOND),
        "assignedDistributionSet": None,
        "installedDistributionSet": old,
    }
    known[ROLLED_BACK]["telemetry"]["/3/0/3"] = "2.3.1"
    known[DOWNLOADING] |= {"updateStatus": "pending", "presence": _presence("online", now, 3 * SECOND)}
    known[DOWNLOADING] |= {"assignedDistributionSet": new, "installedDistributionSet": old}
    known[DOWNLOADING]["telemetry"]["/3/0/3"] = "2.3.1"
    known[HOSTILE] |= {"name": HOSTILE_TEXT, "description": HOSTILE_TEXT, "updateStatus": "error"}
    known[HOSTILE]["assignedDistributionSet"] = None
    known[HOSTILE]["telemetry"] |= {"/3/0/0": HOSTILE_TEXT, "/3/0/3": "<i>1.9</i>", "<u>/x": "1"}
    return found


def attributes(controller_id: str) -> Json | None:
    """What a device told about itself; None is 204."""
    if controller_id.startswith("meter"):
        return None
    if controller_id == HOSTILE:
        return {"note": HOSTILE_TEXT}
    return {"board": "nrf9160dk", "bootloader": "mcuboot 2.2.0", "hardware": "rev C", "site": "north field"}


def _release(identity: int, product: int, name: str, version: str, size: int, days: str, now: int) -> Json:
    at = now - int(float(days.split()[0]) * DAY)
    kind = PRODUCTS[product]
    return release(identity, kind, name, version, size, f"{kind['key']}-{version}.signed.bin", at)


def _by_id(identity: int) -> Json:
    return next(one for one in releases(0) if one["distributionSetId"] == identity)


def _short(source: Json) -> Json:
    return {"id": source["distributionSetId"], "name": source["name"], "version": source["version"]}


def _target(
    controller_id: str, product: int, dice: random.Random, now: int, old: Json | None, new: Json | None
) -> Json:
    kind = PRODUCTS[product]
    state = dice.choices(("online", "late", "offline", "never"), (88, 6, 4, 2))[0]
    status = dice.choices(("in_sync", "pending", "error", "registered"), (70, 22, 3, 5))[0]
    if new is None or state == "never":
        status = "registered"
    installed = None if status == "registered" else new if status == "in_sync" else old
    return {
        "controllerId": controller_id,
        "name": controller_id,
        "description": "",
        "createdAt": now - 200 * DAY,
        "updateStatus": status,
        "targetType": kind["id"],
        "targetTypeName": kind["name"],
        "presence": _presence(state, now, dice.randrange(5, 600) * SECOND),
        # A failed update is no longer assigned, as in hawkBit.
        "assignedDistributionSet": None if status in ("registered", "error") else new,
        "installedDistributionSet": installed,
        "telemetry": {
            "/3/0/0": "Ackerbau Messtechnik",
            "/3/0/1": kind["key"],
            "/3/0/2": f"{dice.randrange(16**8):08X}",
            "/3/0/3": installed["version"] if installed else "3.0.0",
            "/3/0/9": str(dice.randrange(40, 100)),
            "/4/0/2": str(-dice.randrange(70, 118)),
            "/5/0/3": "0",
            "/5/0/5": "0",
        },
    }


def _presence(state: str, now: int, since: int) -> Json:
    if state == "never":
        return {"state": state, "lastSeenAt": None, "expectedBy": None, "queueMode": False, "address": None}
    last = now - {"online": since, "late": 26 * MINUTE + since, "offline": 3 * DAY + since}[state]
    return {
        "state": state,
        "lastSeenAt": last,
        "expectedBy": last + 15 * MINUTE,
        "queueMode": True,
        "address": "[2001:db8:4::1f]:56830",
    }
