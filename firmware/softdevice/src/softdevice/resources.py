"""The LwM2M objects of a device as data: which resources exist, what may be done to them, what they hold now.

Objects 1 (Server), 3 (Device), 4 (Connectivity Monitoring), 5 (Firmware Update), 3303 (Temperature) and 26250 (Updraft
Image), one instance each; a profile says which objects, and which optional resources of object 5, its client has.
Object 0 (Security) exists and is nobody's to read (OMA Core 1.1, appendix E.1). Ids are those of the OMA registry.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

from lwm2m.firmware import DELIVERY, PACKAGE_URI, PROTOCOLS, RESULT, STATE, Result, State
from lwm2m.paths import Path
from lwm2m.senml import Value
from softdevice.profiles import UPDRAFT, Profile

# A value, or the values of a multiple resource by resource instance.
ResourceValue = Value | Mapping[int, Value]

SECURITY: Final = 0
IMAGE: Final = 26250
LIFETIME: Final = Path(1, 0, 1)
UPDATE_TRIGGER: Final = Path(1, 0, 8)
FIRMWARE_VERSION: Final = Path(3, 0, 3)
REBOOT: Final = Path(3, 0, 4)
BATTERY_LEVEL: Final = Path(3, 0, 9)
FREE_MEMORY: Final = Path(3, 0, 10)
ERROR_CODES: Final = Path(3, 0, 11)
RESET_ERRORS: Final = Path(3, 0, 12)
CURRENT_TIME: Final = Path(3, 0, 13)
RADIO_STRENGTH: Final = Path(4, 0, 2)
PACKAGE_VERSION: Final = Path(5, 0, 7)
CANCEL: Final = Path(5, 0, 10)
SEVERITY: Final = Path(5, 0, 11)
LAST_STATE_CHANGE: Final = Path(5, 0, 12)
MAX_DEFER_PERIOD: Final = Path(5, 0, 13)
TEMPERATURE: Final = Path(3303, 0, 5700)
APPLICATION_TYPE: Final = Path(3303, 0, 5750)

# Allowed operations: R read, W write, E execute.
OPERATIONS: Final[dict[int, dict[int, str]]] = {
    1: {0: "R", 1: "RW", 2: "RW", 3: "RW", 6: "RW", 7: "RW", 8: "E"},
    3: {
        **dict.fromkeys((0, 1, 2, 3, 9, 10, 11, 16, 18, 21), "R"),
        4: "E",
        12: "E",
        13: "RW",
    },
    4: dict.fromkeys((0, 1, 2, 4), "R"),
    5: {0: "W", 1: "RW", 2: "E", **dict.fromkeys((3, 5, 6, 7, 8, 9, 12), "R"), 10: "E", 11: "RW", 13: "RW"},
    3303: dict.fromkeys((5700, 5701, 5750), "R"),
    IMAGE: dict.fromkeys(range(6), "R"),
}
_MANDATORY_OF_FIRMWARE: Final = (0, 1, 2, 3, 5, 9)

Model = Mapping[int, Mapping[int, str]]


@cache
def model_of(profile: Profile, objects: tuple[int, ...]) -> Model:
    """Operations by object and resource of a client with these objects; one for all devices of a kind."""
    firmware = _MANDATORY_OF_FIRMWARE + profile.firmware_resources
    return {
        number: {
            resource: allowed for resource, allowed in OPERATIONS[number].items() if number != 5 or resource in firmware
        }
        for number in objects
    }


class Resources:
    """The values of one device. Reading below a path gives them by resource."""

    def __init__(
        self,
        *,
        serial: str,
        model: str,
        version: str,
        lifetime_seconds: int,
        queue_mode: bool,
        profile: Profile = UPDRAFT,
        more_objects: tuple[int, ...] = (),
    ) -> None:
        self.profile = profile
        self.model = model_of(profile, tuple(dict.fromkeys((*profile.objects, *more_objects))))
        self._values: dict[Path, ResourceValue] = {
            Path(1, 0, 0): 101,
            LIFETIME: lifetime_seconds,
            Path(1, 0, 2): 0,
            Path(1, 0, 3): 0,
            Path(1, 0, 6): True,
            Path(1, 0, 7): "U",
            Path(3, 0, 0): profile.manufacturer,
            Path(3, 0, 1): model,
            Path(3, 0, 2): serial,
            FIRMWARE_VERSION: version,
            BATTERY_LEVEL: 100,
            FREE_MEMORY: 96,
            ERROR_CODES: {0: 0},
            CURRENT_TIME: 0,
            Path(3, 0, 16): "UQ" if queue_mode else "U",
            Path(3, 0, 18): "rev-b",
            Path(3, 0, 21): 256,
            Path(4, 0, 0): 7,
            Path(4, 0, 1): {0: 7},
            RADIO_STRENGTH: -85,
            Path(4, 0, 4): {0: "0.0.0.0"},
            PACKAGE_URI: "",
            STATE: int(State.IDLE),
            RESULT: int(Result.INITIAL),
            Path(5, 0, 6): "",
            PACKAGE_VERSION: "",
            PROTOCOLS: {0: 0},
            DELIVERY: profile.delivery,
            SEVERITY: 1,
            LAST_STATE_CHANGE: 0,
            MAX_DEFER_PERIOD: 0,
            TEMPERATURE: 21.5,
            Path(3303, 0, 5701): "Cel",
            APPLICATION_TYPE: "",
        }

    def operations(self, path: Path) -> str | None:
        """Allowed operations of a resource; None when there is none at `path`."""
        if len(path.ids) < 3 or path.instance_id != 0 or path.object_id is None or path.resource_id is None:
            return None
        return self.model.get(path.object_id, {}).get(path.resource_id)

    def exists(self, path: Path) -> bool:
        """Whether an object, instance or resource is there (resource instances: see `read`)."""
        ids = path.ids
        if not ids or ids[0] not in self.model or (len(ids) > 1 and ids[1] != 0):
            return False
        return len(ids) < 3 or self.operations(path) is not None

    def __getitem__(self, path: Path) -> ResourceValue:
        return self._values[path]

    def set(self, path: Path, value: ResourceValue) -> bool:
        """Change a value; True when it is another one than before."""
        changed = self._values.get(path) != value
        self._values[path] = value
        return changed

    def read(self, path: Path) -> dict[Path, ResourceValue]:
        """Readable values at and below `path`, by resource; empty when there are none.

        A path of four ids gives the one resource instance under its resource.
        """
        if len(path.ids) == 4:
            resource = Path.of(path.ids[:3])
            value = self._values.get(resource)
            wanted = path.resource_instance_id
            if "R" not in (self.operations(resource) or "") or not isinstance(value, Mapping) or wanted not in value:
                return {}
            return {resource: {wanted: value[wanted]}} if wanted is not None else {}
        return {
            resource: value
            for resource, value in self._values.items()
            if path.covers(resource) and "R" in (self.operations(resource) or "")
        }
