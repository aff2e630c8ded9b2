"""Devices as rows of the list and as the head of their own page."""

from dataclasses import dataclass
from typing import Any, Final

from frontend.view_models import states
from frontend.view_models.feed import device_path
from frontend.view_models.filters import devices_path
from frontend.view_models.formatting import instant
from frontend.view_models.overview import release_name
from frontend.view_models.paging import Paging, paging
from frontend.view_models.reading import Json, child, children, maybe_number, text
from frontend.view_models.states import Badge

FIRMWARE_VERSION: Final = "/3/0/3"
CURRENT_TIME: Final = "/3/0/13"
# OMA LwM2M resources operators meet most, and our object 26250; others are shown by their path.
RESOURCES: Final = {
    "/3/0/0": "Manufacturer",
    "/3/0/1": "Model number",
    "/3/0/2": "Serial number",
    "/3/0/3": "Firmware version",
    "/3/0/6": "Power source",
    "/3/0/7": "Power voltage (mV)",
    "/3/0/9": "Battery level (%)",
    "/3/0/10": "Memory free (KB)",
    "/3/0/11": "Error code",
    "/3/0/13": "Current time",
    "/3/0/14": "UTC offset",
    "/3/0/15": "Time zone",
    "/3/0/16": "Binding modes",
    "/3/0/17": "Device type",
    "/3/0/18": "Hardware version",
    "/3/0/19": "Software version",
    "/3/0/20": "Battery status",
    "/3/0/21": "Memory total (KB)",
    "/4/0/0": "Network bearer",
    "/4/0/2": "Radio signal (dBm)",
    "/4/0/4": "IP address",
    "/5/0/3": "Update state",
    "/5/0/5": "Update result",
    "/5/0/6": "Package name",
    "/5/0/7": "Package version",
    "/5/0/8": "Protocols supported",
    "/5/0/9": "Delivery method",
    "/26250/0/0": "Running image (SHA-256)",
    "/26250/0/1": "Image confirmed",
    "/26250/0/2": "Boots",
    "/26250/0/3": "Deltas taken (mask)",
    "/26250/0/4": "Last swap",
    "/26250/0/5": "Application says",
}
STATUS_CHIPS: Final = (
    ("All", ""),
    ("In sync", "updatestatus==in_sync"),
    ("Updating", "updatestatus==pending"),
    ("Failed", "updatestatus==error"),
    ("Online", "presence==online"),
    ("Late", "presence==late"),
    ("Offline", "presence==offline"),
    ("Never seen", "presence==never"),
)


@dataclass(frozen=True, slots=True)
class Chip:
    """A ready-made filter."""

    label: str
    href: str
    active: bool


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A line of the device list."""

    controller_id: str
    href: str
    name: str
    product: str
    status: Badge
    presence: Badge
    firmware: str
    assigned: str
    changing: bool
    last_seen_at: int | None
    expected_by: int | None


@dataclass(frozen=True, slots=True)
class DeviceList:
    """A page of devices."""

    query: str
    rows: tuple[DeviceRow, ...]
    chips: tuple[Chip, ...]
    paging: Paging


@dataclass(frozen=True, slots=True)
class Fact:
    """A name, what it is, and the engineer's name for it."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """The head and the side of a device's page."""

    row: DeviceRow
    description: str
    assigned_href: str
    installed: str
    installed_href: str
    address: str
    queue_mode: bool
    registered_at: int | None
    attributes: tuple[Fact, ...]
    telemetry: tuple[Fact, ...]


def device_list(source: Json, query: str, offset: int, limit: int) -> DeviceList:
    """From `GET /targets`."""
    rows = tuple(device_row(item) for item in children(source, "content"))
    chips = tuple(Chip(label, devices_path(filter_), filter_ == query.strip()) for label, filter_ in STATUS_CHIPS)
    return DeviceList(query, rows, chips, paging(source, "/devices", offset, limit, len(rows), {"q": query}))


def group_list(source: Json, path: str, offset: int, limit: int) -> DeviceList:
    """From the targets of a rollout group, whose page is `path`."""
    rows = tuple(device_row(item) for item in children(source, "content"))
    return DeviceList("", rows, (), paging(source, path, offset, limit, len(rows), {}))


def empty_list(query: str, limit: int) -> DeviceList:
    """What is shown beside an error in the filter."""
    return device_list({}, query, 0, limit)


def device_row(source: Json) -> DeviceRow:
    """From a target."""
    controller_id = text(source, "controllerId")
    reach = child(source, "presence")
    assigned, installed = (child(source, f"{kind}DistributionSet") for kind in ("assigned", "installed"))
    name = text(source, "name")
    return DeviceRow(
        controller_id=controller_id,
        href=device_path(controller_id),
        name="" if name == controller_id else name,
        product=text(source, "targetTypeName"),
        status=states.update_status(text(source, "updateStatus", "unknown")),
        presence=states.presence(text(reach, "state", "never")),
        firmware=text(child(source, "telemetry"), FIRMWARE_VERSION) or text(installed, "version"),
        assigned=release_name(assigned),
        changing=bool(assigned) and text(assigned, "id") != text(installed, "id"),
        last_seen_at=maybe_number(reach, "lastSeenAt") or maybe_number(source, "lastControllerRequestAt"),
        expected_by=maybe_number(reach, "expectedBy"),
    )


def device(source: Json, attributes: Any) -> Device:
    """From a target and its attributes (None when it has reported none)."""
    reach = child(source, "presence")
    assigned, installed = (child(source, f"{kind}DistributionSet") for kind in ("assigned", "installed"))
    return Device(
        row=device_row(source),
        description=text(source, "description"),
        assigned_href=_release_href(assigned),
        installed=release_name(installed),
        installed_href=_release_href(installed),
        address=text(reach, "address") or text(source, "ipAddress") or text(source, "address"),
        queue_mode=bool(reach.get("queueMode")),
        registered_at=maybe_number(source, "createdAt"),
        attributes=tuple(Fact(str(key), str(value)) for key, value in sorted(_mapping(attributes).items())),
        telemetry=tuple(
            _resource(path, value)
            for path, value in sorted(child(source, "telemetry").items(), key=lambda pair: _path_order(pair[0]))
        ),
    )


def _resource(path: str, value: Any) -> Fact:
    """An instance of a multiple resource (`/3/0/11/0`) goes by the name of its resource."""
    label = RESOURCES.get(path) or RESOURCES.get(path.rpartition("/")[0])
    seconds = maybe_number({"value": value}, "value") if path == CURRENT_TIME else None
    shown = str(value) if seconds is None else instant(seconds * 1000)
    return Fact(label or path, shown, path if label else "")


def _mapping(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _path_order(path: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (1 << 20, part) for part in path.strip("/").split("/"))


def _release_href(source: Json) -> str:
    return f"/releases/{text(source, 'id')}" if source.get("id") is not None else ""
