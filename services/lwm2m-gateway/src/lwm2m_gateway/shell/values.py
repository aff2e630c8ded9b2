"""What a device's values say (text for people, attributes, what a journey looks at), and what is said of a device."""

from lwm2m import firmware
from lwm2m.content import Value
from lwm2m.paths import Path
from lwm2m_gateway.coap.devices import Values
from lwm2m_gateway.sessions import events
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.sessions.registrations import Registration

FIRMWARE_VERSION = Path(3, 0, 3)
ATTRIBUTES = {
    Path(3, 0, 0): "manufacturer",
    Path(3, 0, 1): "model",
    Path(3, 0, 2): "serial",
    Path(3, 0, 3): "firmware.version",
    Path(3, 0, 17): "device.type",
    Path(3, 0, 18): "hardware.version",
    Path(3, 0, 19): "software.version",
}
# The custom object "Updraft Image" (docs/contracts.md).
IMAGE_OBJECT = Path(26250, 0)
RUNNING_IMAGE = Path(26250, 0, 0)
DELTA_FORMATS = Path(26250, 0, 3)
SHA256_BYTES = 32
MAX_TEXT = 128
MAX_RESOURCES = 128


def as_text(value: Value) -> str:
    """A value for people, bounded; opaque bytes in hex."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")[:MAX_TEXT]


def as_texts(values: Values) -> dict[str, str]:
    """Values by path for people; a device that reports hundreds of resources is shown the first ones."""
    return {str(path): as_text(value) for path, value in list(values.items())[:MAX_RESOURCES]}


def observed(values: Values, *, full: bool = False) -> events.Observed:
    """The values a journey looks at; a device that writes words where numbers belong says nothing.

    `full`: they are all that the device has to say, and no notification.
    """
    state, result = values.get(firmware.STATE), values.get(firmware.RESULT)
    version, uri = values.get(FIRMWARE_VERSION), values.get(firmware.PACKAGE_URI)
    image, formats = values.get(RUNNING_IMAGE), values.get(DELTA_FORMATS)
    delivery = values.get(firmware.DELIVERY)
    return events.Observed(
        state if isinstance(state, int) else None,
        result if isinstance(result, int) else None,
        None if version is None else as_text(version),
        uri if isinstance(uri, str) else None,
        image.hex() if isinstance(image, bytes) and len(image) == SHA256_BYTES else None,
        formats if isinstance(formats, int) else None,
        delivery if isinstance(delivery, int) else None,
        full,
    )


def presence(registration: Registration, state: str) -> dict[str, object]:
    """Members of the uplink event `presence` (docs/contracts.md); `state` is `online` or `offline`."""
    return {
        "state": state,
        "lifetimeSeconds": registration.lifetime,
        "queueMode": registration.queue_mode,
        "address": registration.address,
        "lwm2mVersion": registration.version,
        "expectedBy": int(registration.expected_by * 1000),
    }


def phase(going: Journey, report: events.ReportPhase) -> dict[str, object]:
    """Members of the uplink event `phase` (docs/contracts.md)."""
    said: dict[str, object] = {
        "actionId": going.action_id,
        "phase": str(going.phase),
        "text": report.text,
        "state": going.state,
        "result": going.result,
        "cause": report.cause,
    }
    if (what := report.delivery) is not None:
        sizes = {"size": what.size, "fullSize": what.full_size, "sha256": what.sha256}
        said["delivery"] = {"kind": what.kind, **sizes, **({"from": what.base} if what.base else {})}
    return said


def ticket(going: Journey, endpoint: str, tenant: str) -> dict[str, object]:
    """The record behind a ticket's token (docs/contracts.md): of the delta, when one is offered."""
    what = going.delta or going
    return {
        "url": what.url,
        "sha256": what.sha256,
        "size": what.size,
        "controllerId": endpoint,
        "tenant": tenant,
        "actionId": going.action_id,
        "name": "fw.bin",
    }
