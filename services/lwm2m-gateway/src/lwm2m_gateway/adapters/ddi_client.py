"""A hawkBit DDI client, speaking for many devices with one gateway token; works against any hawkBit."""

import logging
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from lwm2m_gateway.sessions.events import DeltaAnswered
from lwm2m_gateway.sessions.records import Delta

logger = logging.getLogger(__name__)


class DdiUnavailable(Exception):
    """The update manager cannot be asked now; ask again later."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What a poll answered: absolute hrefs, or None."""

    deployment: str | None
    cancel: str | None
    config_data: str | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """The one image of a deployment; `url` absolute, `size` in bytes, `sha256` in hex.

    `delta` is where a delta to it may be asked for; empty at a server that makes none.
    """

    action_id: int
    version: str
    url: str
    sha256: str
    size: int
    filename: str
    delta: str = ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A deployment this gateway can never carry out, and why in a sentence for operators."""

    action_id: int
    text: str


class DdiClient:
    """`base` is the server's URL, without path."""

    def __init__(self, base: str, tenant: str, gateway_token: str, timeout_seconds: float = 15.0) -> None:
        self._base = f"{base.rstrip('/')}/{quote(tenant)}/controller/v1/"
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            headers={"Authorization": f"GatewayToken {gateway_token}", "Accept": "application/json"},
            trust_env=False,
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=20),
        )

    async def _request(self, method: str, url: str, body: Any = None) -> httpx.Response:
        try:
            answer = await self._client.request(method, url, json=body)
        except httpx.TransportError as error:
            raise DdiUnavailable(type(error).__name__) from error
        if answer.status_code >= 500 or answer.status_code in (401, 403, 429):
            raise DdiUnavailable(f"{method} answered {answer.status_code}")
        return answer

    def controller(self, endpoint: str) -> str:
        """URL of a device's resource."""
        return self._base + quote(endpoint, safe="")

    async def poll(self, endpoint: str) -> Poll:
        """Ask what there is to do; creates the device at the update manager on first contact."""
        answer = await self._request("GET", self.controller(endpoint))
        if answer.status_code != 200:
            raise DdiUnavailable(f"poll answered {answer.status_code}")
        links = answer.json().get("_links", {})
        return Poll(*(links.get(name, {}).get("href") for name in ("deploymentBase", "cancelAction", "configData")))

    async def deployment(self, href: str) -> Deployment | Unusable | None:
        """What to install, or why that cannot be; None when it is gone or its time has not come."""
        answer = await self._request("GET", href)
        return chosen(answer.json()) if answer.status_code == 200 else None

    async def delta(self, href: str, base: str, formats: int) -> DeltaAnswered:
        """A delta from the image with hash `base` in one of `formats`, or when to ask again, or why there is none."""
        answer = await self._request("GET", str(httpx.URL(href).copy_merge_params({"from": base, "formats": formats})))
        if answer.status_code == 202:
            said = answer.headers.get("retry-after", "")
            return DeltaAnswered(retry_seconds=float(said) if said.isdecimal() else 1.0)
        if answer.status_code != 200:
            return DeltaAnswered(reason="there is no delta for what the device runs")
        return delta_of(answer.json())

    async def cancel_action(self, href: str) -> int | None:
        """Id of the action to stop; None when it is gone."""
        answer = await self._request("GET", href)
        return int(answer.json()["cancelAction"]["stopId"]) if answer.status_code == 200 else None

    async def feedback(self, endpoint: str, action_id: int, feedback: Any) -> None:
        """Deliver one feedback (`sessions.records.Feedback`); an action closed or unknown counts as delivered."""
        kind = "cancelAction" if feedback.cancel else "deploymentBase"
        body = {
            "id": str(action_id),
            "status": {
                "execution": feedback.execution,
                "result": {"finished": feedback.finished},
                "details": list(feedback.details),
            },
        }
        answer = await self._request("POST", f"{self.controller(endpoint)}/{kind}/{action_id}/feedback", body)
        if answer.status_code >= 400:
            logger.warning(
                "feedback was not taken",
                extra={"endpoint": endpoint, "action": action_id, "status": answer.status_code},
            )

    async def config_data(self, endpoint: str, attributes: dict[str, str]) -> None:
        """Report attributes of a device."""
        body = {"mode": "merge", "data": attributes}
        await self._request("PUT", f"{self.controller(endpoint)}/configData", body)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.aclose()


# As DDI names them: ours, and those hawkBit has from the start ("bApp" is its word for `application`).
FIRMWARE_PART: Final = "firmware"
OTHER_PARTS: Final = ("os", "bApp")
_SHA256: Final = re.compile("[0-9a-f]{64}")


def chosen(body: Any) -> Deployment | Unusable | None:
    """The image a body of deploymentBase means for a microcontroller; None while its maintenance window is shut."""
    action_id, deployment = int(body["id"]), body["deployment"]
    # hawkBit says "skip" in both cases, and names a window only where there is one.
    if deployment.get("maintenanceWindow") == "unavailable" or deployment.get("download") == "skip":
        return None
    if deployment.get("update") == "skip":
        return Unusable(
            action_id,
            "download only cannot be done: the device pulls an image and installs it in one go; assign it anew",
        )
    usable = [(chunk, _usable(chunk)) for chunk in deployment["chunks"]]
    ours = [(chunk, images[0]) for chunk, images in usable if chunk["part"] == FIRMWARE_PART and images]
    for part in OTHER_PARTS:
        ours += [(chunk, images[0]) for chunk, images in usable if chunk["part"] == part and len(images) == 1]
    if not ours:
        found = ", ".join(f"{chunk['part']} with {len(images)}" for chunk, images in usable) or "no module at all"
        wanted = f"an image in a module of type {FIRMWARE_PART}, or exactly one in os or application"
        return Unusable(
            action_id, f"the distribution set holds no image for the device: wanted is {wanted}; it has {found}"
        )
    chunk, image = ours[0]
    size, name, sha256 = int(image["size"]), image["filename"], image["hashes"]["sha256"]
    delta = str(image.get("_links", {}).get("delta", {}).get("href", ""))
    return Deployment(action_id, chunk["version"], _link(image), sha256, size, name, delta)


def delta_of(body: Any) -> DeltaAnswered:
    """The delta a body describes; one without an address, size or hash is none."""
    url, sha256, size = _link(body), str(body.get("sha256")), body.get("size")
    if not url or not _SHA256.fullmatch(sha256) or type(size) is not int or size < 1:
        return DeltaAnswered(reason="the update manager describes a delta nobody could fetch and check")
    return DeltaAnswered(Delta(url, sha256, size))


def _link(artifact: Any) -> str:
    links = artifact.get("_links", {})
    return str((links.get("download-http") or links.get("download") or {}).get("href", ""))


def _usable(chunk: Any) -> list[Any]:
    """Artifacts that can be fetched and checked."""
    return [one for one in chunk["artifacts"] if _link(one) and one["hashes"].get("sha256")]
