"""A small client of the Management API, for set-ups, demos and tests: what an integrator's script would do."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx


class Refused(RuntimeError):
    """The update manager said no; the message holds its words."""

    def __init__(self, status: int, body: Any) -> None:
        words = body.get("message") if isinstance(body, dict) else str(body)[:300]
        super().__init__(f"{status}: {words}")
        self.status = status
        self.body = body


class Management:
    """One operator at one update manager."""

    def __init__(self, base: str, username: str, password: str, timeout_seconds: float = 30.0) -> None:
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._client = httpx.Client(
            base_url=base, headers={"Authorization": f"Basic {token}"}, timeout=timeout_seconds, trust_env=False
        )

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One request; JSON of the answer, or None. Raises Refused for anything but success."""
        answer = self._client.request(method, f"/rest/v1{path}", **options)
        try:
            body = answer.json() if answer.content else None
        except json.JSONDecodeError:
            body = answer.text
        if answer.status_code >= 400:
            raise Refused(answer.status_code, body)
        return body

    def get(self, path: str, **parameters: Any) -> Any:
        """GET."""
        return self.call("GET", path, params=parameters)

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON."""
        return self.call("POST", path, json=body)

    def product(self, key: str, name: str, public_keys: tuple[Path, ...]) -> int:
        """Make a product that trusts the keys; an existing one is completed."""
        found = self.get("/targettypes", q=f"key=={key}")["content"]
        identifier: int = found[0]["id"] if found else self.post("/targettypes", [{"key": key, "name": name}])[0]["id"]
        for path in public_keys:
            try:
                name = "test key" if path.name == "test-key.pub.pem" else path.stem[:100]
                body = {"name": name, "publicKeyPem": path.read_text()}
                self.post(f"/targettypes/{identifier}/signingkeys", body)
            except Refused as refused:
                if refused.status != 409:
                    raise
        return identifier

    def publish(self, image: Path, product: str, name: str | None = None) -> dict[str, Any]:
        """Upload an image; returns the release."""
        with image.open("rb") as file:
            data = {"targetType": product, **({"name": name} if name else {})}
            release: dict[str, Any] = self.call("POST", "/releases", files={"file": (image.name, file)}, data=data)
        return release

    def create_rollout(self, name: str, set_id: int, *, query: str = "name==*", groups: int = 3, **more: Any) -> int:
        """A rollout that is ready to start."""
        body = {
            "name": name,
            "targetFilterQuery": query,
            "distributionSetId": set_id,
            "amountGroups": groups,
            "successCondition": {"condition": "THRESHOLD", "expression": "80"},
            "errorCondition": {"condition": "THRESHOLD", "expression": "50"},
            **more,
        }
        identifier: int = self.post("/rollouts", body)["id"]
        self.wait(lambda: self.get(f"/rollouts/{identifier}")["status"] == "ready", 60, "the rollout to be ready")
        return identifier

    def progress(self, rollout: int) -> dict[str, Any]:
        """What the control room shows."""
        shown: dict[str, Any] = self.get(f"/rollouts/{rollout}/progress")
        return shown

    def timeline(self, controller: str) -> dict[str, Any]:
        """A device's story."""
        shown: dict[str, Any] = self.get(f"/targets/{quote(controller, safe='')}/timeline")
        return shown

    def online(self) -> int:
        """Devices that are there."""
        count: int = self.get("/overview")["presence"]["online"]
        return count

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Poll until `condition` is true; a server that is away for a moment is waited for. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if result := condition():
                    return result
            except (httpx.TransportError, Refused) as error:
                if isinstance(error, Refused) and error.status < 500:
                    raise
            time.sleep(0.3)
        raise TimeoutError(f"waited {seconds:.0f} s for {what}")

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()
