"""A fleet's report: what became of its devices, and what they cost, as JSON values."""

import platform
import resource
from pathlib import Path
from typing import Any, Final

from softdevice.fleet import Fleet

_PAGE_BYTES: Final = resource.getpagesize()
_STATM: Final = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not tell the present."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fleet_report(fleet: Fleet, *, seconds: float) -> dict[str, Any]:
    """What `seconds` of a fleet came to: the same for the same seed in virtual time."""
    counts, errors = dict(sorted(fleet.tally.counts.items())), {}
    for kind in [kind for kind in counts if kind.startswith("errors: ")]:
        errors[kind.removeprefix("errors: ")] = counts.pop(kind)
    versions: dict[str, int] = {}
    profiles: dict[str, int] = {}
    for device in fleet.devices.values():
        version = device.version or "none boots"
        versions[version] = versions.get(version, 0) + 1
        profiles[device.options.profile.name] = profiles.get(device.options.profile.name, 0) + 1
    return {
        "devices": len(fleet.devices),
        "seconds": round(seconds, 1),
        "registered": fleet.registered,
        "profiles": dict(sorted(profiles.items())),
        "versions": dict(sorted(versions.items())),
        "counts": counts,
        "errors": errors,
        "milliseconds": {kind: taken.summary() for kind, taken in sorted(fleet.tally.durations.items())},
        "installs": sum(device.ledger.installs for device in fleet.devices.values()),
        "reverts": sum(device.ledger.reverts for device in fleet.devices.values()),
    }


def cpu_seconds() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cost_report(fleet: Fleet, *, resident_before: int, start_cpu: float, keep_cpu: float | None) -> dict[str, Any]:
    """What the fleet cost: bytes for each device above what the process held before it was made, CPU seconds until all
    were switched on, and how many devices a core can keep by `keep_cpu`, the share of a core it took after that.
    """
    held = resident_bytes()
    return {
        "residentBytes": held,
        "bytesPerDevice": round((held - resident_before) / len(fleet.devices)),
        "cpuSecondsToStart": round(start_cpu, 2),
        "cpuSeconds": round(cpu_seconds(), 2),
        "devicesPerCore": round(len(fleet.devices) / keep_cpu) if keep_cpu else None,
        "python": platform.python_version(),
    }
