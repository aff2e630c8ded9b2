"""A bench for faults: the whole suite with real images, one new release for each story, and what must hold at its end.

Stories share one suite, as a product's parts share one life: what one fault leaves behind the next one meets.
"""

import http.client
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from softdevice import images
from softdevice.board import Board
from softdevice.device import FLASH_FILE
from softdevice.flash import SECTOR_BYTES
from softdevice.inspection import inspect_fleet
from updraft_local import firmware
from updraft_local.management import Management, Refused
from updraft_local.suite import HURRY, OPERATOR, Options, Pace, Suite, device_name

DEVICES = 8
GROUPS = 2
# Zephyr asks for 256 bytes by default; over a link this slow a download takes some seconds.
BLOCK_BYTES = 256
BLOCKS_PER_SECTOR = SECTOR_BYTES // BLOCK_BYTES
END_SECONDS = 150.0
# Deltas would be over before anything could be killed.
WHOLE = dict.fromkeys(range(1, DEVICES + 1), "takes_no_deltas")
PACE = Pace(
    gateway={**HURRY.gateway, "SOAK_SECONDS": "3", "ASK_AGAIN_SECONDS": "2", "SWEEP_SECONDS": "10"},
    devices=(
        "--hurry",
        "--lifetime",
        "30",
        "--ack-timeout",
        "1.0",
        "--block-size",
        str(BLOCK_BYTES),
        "--link",
        "delay=0.006",
    ),
)


@dataclass(frozen=True)
class Release:
    """What is rolled out next; `blocks` is how many a device has to fetch."""

    set_id: int
    version: str
    content: bytes
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return len(self.content)

    @property
    def blocks(self) -> int:
        """Blocks of one download, none repeated."""
        return -(-self.size // BLOCK_BYTES)


class Bench:
    """The running suite, its operator, and rows and flashes to compare the operator's screen with."""

    def __init__(self, folder: Path, devices: int = DEVICES) -> None:
        made = firmware.prepare(folder / "firmware")
        self.folder = folder
        self.suite = Suite(Options(folder, made, devices, misbehaving=WHOLE, pace=PACE, frontend=False, workers=2))
        self.key = images.load_key(made.private_key)
        self.payloads = [images.zephyr_payload(package) for package in images.ZEPHYR_PACKAGES]
        self._count = 0
        self.names = [device_name(number) for number in range(1, devices + 1)]

    def start(self) -> None:
        """Everything up, every device registered and shown."""
        self.suite.start()
        self.manager: Management = self.suite.management()
        made = self.suite.options.firmware
        self.manager.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, made.public_keys)
        self.suite.wait_online()

    def stop(self) -> None:
        """Everything down."""
        self.suite.stop()

    # --- what an operator does ----------------------------------------------------------------------------------

    def release(self, payload: bytes | None = None) -> Release:
        """A new version of real firmware (or of `payload`), signed and uploaded."""
        self._count += 1
        version = f"1.{self._count}.0"
        return self.publish(version, images.sign(payload or self.payloads[self._count % 2], version, self.key))

    def publish(self, version: str, content: bytes) -> Release:
        """An image, uploaded as this version."""
        path = self.folder / f"bridge-{version}.bin"
        path.write_bytes(content)
        made = self.manager.publish(path, firmware.PRODUCT_KEY)
        return Release(made["distributionSetId"], version, content, made["artifact"]["sha256"])

    def create(
        self, release: Release, *, query: str = "name==softdevice-*", groups: int = GROUPS, errors: int = 0
    ) -> int:
        """Ask for a rollout and return at once, while it is still being created."""
        body = {
            "name": f"to {release.version}",
            "targetFilterQuery": query,
            "distributionSetId": release.set_id,
            "amountGroups": groups,
            # All of a group before the next one: what is killed between groups is killed between groups.
            "successCondition": {"condition": "THRESHOLD", "expression": "100"},
            "errorCondition": {"condition": "THRESHOLD", "expression": str(errors)},
        }
        identifier: int = self.manager.post("/rollouts", body)["id"]
        return identifier

    def begin(self, rollout: int) -> None:
        """Start it as soon as it is ready."""
        self.manager.wait(lambda: self.manager.get(f"/rollouts/{rollout}")["status"] == "ready", 60, "ready")
        self.manager.post(f"/rollouts/{rollout}/start")

    def roll_out(self, release: Release, **more: Any) -> int:
        """A rollout that runs."""
        rollout = self.create(release, **more)
        self.begin(rollout)
        return rollout

    def wait_for_end(self, rollout: int, seconds: float = END_SECONDS) -> dict[str, Any]:
        """What the control room shows of a rollout that has ended; all processes must live."""
        try:
            self.manager.wait(lambda: self._ended(rollout), seconds, f"rollout {rollout} to end")
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{json.dumps(self.manager.progress(rollout), indent=1)}") from error
        self.suite.require_alive()
        return self.manager.progress(rollout)

    def _ended(self, rollout: int) -> bool:
        self.suite.require_alive()
        return self.manager.progress(rollout)["status"] in ("finished", "paused", "stopped")

    # --- points of a rollout ------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
        """Watch closely: some points of a rollout last a tenth of a second."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except (httpx.TransportError, OSError, Refused) as error:
                if isinstance(error, Refused) and error.status < 500:
                    raise
            time.sleep(0.02)
        raise AssertionError(f"in {seconds:.0f} s never seen: {what}")

    def until_downloading(self, rollout: int, low: int = 20, high: int = 60) -> None:
        """A device of the running group is between `low` and `high` percent."""

        def midway() -> bool:
            flying = self.manager.progress(rollout)["inFlight"]
            return any(one["phase"] == "downloading" and low <= one["percent"] <= high for one in flying)

        self.until(midway, f"a download between {low} and {high} %")

    def until_phase(self, *phases: str) -> None:
        """The gateway leads a device through one of these phases."""
        self.until(lambda: set(phases) & set(self.ask("gateway_http", "/stats")["journeys"]), " or ".join(phases))

    # --- looking in ---------------------------------------------------------------------------------------------

    def ask(self, face: str, path: str) -> Any:
        """JSON of a service's own HTTP face, whatever the status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.suite.port(face), timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def management(self, path: str) -> tuple[int, Any, float]:
        """Status, body and seconds of one GET of the Management API, whatever the answer."""
        began = time.monotonic()
        credentials = (OPERATOR, self.suite.secrets.operator)
        with httpx.Client(timeout=30.0, trust_env=False) as client:
            answer = client.get(f"{self.suite.api_url}/rest/v1{path}", auth=credentials)
        return answer.status_code, answer.json(), time.monotonic() - began

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows as they are, past all services."""
        assert self.suite.postgres is not None
        with psycopg.connect(self.suite.postgres.url, connect_timeout=5, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def flashes(self) -> dict[str, dict[str, Any]]:
        """Flash and ledger of every device."""
        return {one["endpoint"]: one for one in inspect_fleet(self.suite.devices_folder)}

    @contextmanager
    def counted(self) -> Iterator[dict[str, dict[str, int]]]:
        """After the block: by how much each device's counters grew in it."""
        grown: dict[str, dict[str, int]] = {}
        before = self.flashes()
        yield grown
        for name, after in self.flashes().items():
            counters = {key: value for key, value in after.items() if type(value) is int and key in _COUNTERS}
            grown[name] = {key: value - before[name][key] for key, value in counters.items()}

    # --- what must hold -----------------------------------------------------------------------------------------

    def require_updated(
        self, rollout: int, release: Release, grown: dict[str, dict[str, int]], *, boots: int = 1
    ) -> None:
        """Every device was updated, once; rows, counters, screens and flashes tell the same."""
        shown = self.manager.progress(rollout)
        assert shown["status"] == "finished", shown
        assert shown["totals"] == {**dict.fromkeys(shown["totals"], 0), "finished": DEVICES}
        actions = self.rows("SELECT * FROM action WHERE distribution_set_id = %s", release.set_id)
        assert len({one["target_id"] for one in actions}) == len(actions) == DEVICES
        assert {(one["rollout_id"], one["status"], one["active"]) for one in actions} == {(rollout, "finished", False)}
        for group in shown["groups"]:
            counted = sum(one["rollout_group_id"] == group["id"] for one in actions)
            assert (group["status"], group["targets"], group["finished"]) == ("finished", counted, counted)
        self._require_one_story(release)
        for name, flash in self.flashes().items():
            assert flash["runningVersion"] == release.version, (name, flash)
            assert flash["confirmed"] and flash["swapDue"] is None, (name, flash)
            counters = {key: grown[name][key] for key in ("installs", "reverts", "boots")}
            assert counters == {"installs": 1, "reverts": 0, "boots": boots}, name
        states = self.rows(
            "SELECT DISTINCT update_status, installed_distribution_set_id AS set FROM target"
            " WHERE controller_id = ANY(%s)",
            self.names,
        )
        assert states == [{"update_status": "in_sync", "set": release.set_id}]

    def _require_one_story(self, release: Release) -> None:
        lines = self.rows(
            "SELECT a.id, s.status, s.messages FROM action a JOIN action_status s ON s.action_id = a.id"
            " WHERE a.distribution_set_id = %s ORDER BY s.id",
            release.set_id,
        )
        for action in {one["id"] for one in lines}:
            told = [one for one in lines if one["id"] == action]
            assert sum("started by rollout" in str(one["messages"]) for one in told) == 1, told
            assert [one["status"] for one in told].count("finished") == 1 and told[-1]["status"] == "finished", told
        self.until(lambda: self._screens(release) == [{"phase": "succeeded", "percent": "100"}], "screens to agree", 20)

    def _screens(self, release: Release) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT DISTINCT phase, download->>'percent' AS percent FROM action WHERE distribution_set_id = %s",
            release.set_id,
        )

    def require_no_block_twice(self, release: Release, grown: dict[str, dict[str, int]]) -> None:
        """Each device fetched each block once, from one address, written once."""
        for name, counters in grown.items():
            told = {key: counters[key] for key in ("downloads", "restarts", "blocksFetched")}
            assert told == {"downloads": 1, "restarts": 0, "blocksFetched": release.blocks}, name
        assert self.offers(release) == dict.fromkeys(self.names, 1)

    def offers(self, release: Release) -> dict[str, int]:
        """How often each device was given a Package URI for a release."""
        rows = self.rows(
            "SELECT t.controller_id, count(*) FROM target_event e JOIN target t ON t.id = e.target_id"
            " JOIN action a ON a.target_id = t.id AND a.distribution_set_id = %s"
            " WHERE e.kind = 'trace' AND e.text LIKE 'write coap:%%' AND e.details->>'direction' = 'out'"
            " AND e.at >= a.started_at GROUP BY 1",
            release.set_id,
        )
        return {row["controller_id"]: row["count"] for row in rows}

    @contextmanager
    def away(self, *names: str) -> Iterator[None]:
        """kill -9 now, started again after the block and healthy."""
        for name in names:
            self.suite.kill(name)
        yield
        for name in names:
            self.suite.restart(name)

    def forget_redis(self) -> None:
        """Redis, which is down, loses all it had."""
        assert self.suite.redis is not None
        shutil.rmtree(self.suite.redis.folder)

    def cut_in_swap(self, seconds: float = 60.0) -> dict[str, dict[str, Any]]:
        """kill -9 of the fleet while a bootloader swaps; returns the flashes as the power left them."""
        fleet = self.suite.processes["devices"].child
        assert fleet is not None
        folders = [self.suite.devices_folder / name for name in self.names]
        boards = [Board.on_file(folder / FLASH_FILE, ()) for folder in folders]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(board.swapping for board in boards):
                continue
            # Held first and looked at again: the swap may have ended between the look and the signal.
            os.killpg(fleet.pid, signal.SIGSTOP)
            found = self.flashes()
            if any(one["swapping"] for one in found.values()):
                self.suite.kill("devices")
                return found
            os.killpg(fleet.pid, signal.SIGCONT)
        raise AssertionError(f"in {seconds:.0f} s no bootloader was seen swapping")


_COUNTERS = ("boots", "downloads", "installs", "reverts", "blocksFetched", "restarts")
