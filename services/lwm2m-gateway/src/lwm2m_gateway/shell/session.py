"""One device: its registration, its journey, and a task that takes events one by one and carries out effects."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

import redis.asyncio as redis

from lwm2m import firmware
from lwm2m.paths import Path
from lwm2m_gateway.adapters.ddi_client import DdiUnavailable, Deployment, Unusable
from lwm2m_gateway.coap.devices import Devices, Values
from lwm2m_gateway.sessions import causes, events, journey, records
from lwm2m_gateway.sessions.phases import Phase
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.sessions.registrations import Registration
from lwm2m_gateway.shell.conversation import Conversation
from lwm2m_gateway.shell.inbox import Doorbell, Inbox
from lwm2m_gateway.shell.surroundings import Surroundings
from lwm2m_gateway.shell.values import (
    ATTRIBUTES,
    FIRMWARE_VERSION,
    IMAGE_OBJECT,
    as_text,
    as_texts,
    observed,
    phase,
    presence,
    ticket,
)

logger = logging.getLogger(__name__)

IDLE_SECONDS = 3600.0
# What a read leads to may ask for another read (what came of an offer?), and that one for no more: whatever a device
# says, it is asked again only in its turn.
READS_AT_ONCE = 2
# After a failure the update manager is asked again this soon, spread so that a fleet does not knock at once.
RETRY_SECONDS = (3.0, 9.0)


class Session:
    """Events in, effects out, in order; `device` may be asked only while it listens.

    One whose device has gone (`device.registered` is False) lives on for its journey only; `left` is called at its end.
    """

    def __init__(
        self,
        registration: Registration,
        devices: Devices,
        around: Surroundings,
        *,
        going: Journey | None,
        left: "Callable[[Session], None]",
    ) -> None:
        self.device = Conversation(registration, devices, around)
        self.journey = going
        self._left = left
        self._around = around
        self._inbox = Inbox()
        self._observations: dict[Path, asyncio.Task[None]] = {}
        self._facts: dict[Path, str] = {}
        self._wanted: Deployment | None = None
        self._greeted = False
        self._poll_at = 0.0
        self._reads = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take events."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    def ring(self, what: Doorbell) -> None:
        """Hand in an event."""
        self._inbox.put(what)

    def gone(self) -> None:
        """The device has left: it is asked and listened to no more."""
        self.device.registered = False
        for task in self._observations.values():
            task.cancel()
        self._observations.clear()

    def stop(self) -> tuple[asyncio.Task[None], ...]:
        """End the session's tasks; returns them."""
        tasks = (*self._observations.values(), *([self._task] if self._task else ()))
        for task in tasks:
            task.cancel()
        self._observations.clear()
        return tasks

    async def _live(self) -> None:
        while True:
            what = await self._inbox.take(self._until_next())
            try:
                await self._take(what)
            except (redis.RedisError, DdiUnavailable, OSError) as error:
                # What was not done is asked for again by the next contact, or the poll that now comes early.
                self._poll_at = min(self._poll_at, time.time() + random.uniform(*RETRY_SECONDS))
                self.device.note("trace", f"waiting: {error or type(error).__name__}", ok=False)
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("a session stumbled", extra={"endpoint": self.device.registration.endpoint})
            if self.journey is None and not self.device.registered:
                self._left(self)
                return

    def _until_next(self) -> float:
        now = time.time()
        due = self._poll_at
        if self.journey is not None:
            due = min(
                due,
                self.journey.deadline or due,
                max(self.journey.wake_at, now + 0.2) if not self.journey.over else due,
            )
            if self.journey.feedback:
                due = min(due, now + 2.0)
        return min(max(due - now, 0.05), IDLE_SECONDS)

    async def _take(self, what: Doorbell) -> None:
        self._reads = 0
        match what:
            case "greet":
                self._greeted = False
                await self._visit()
            case "poll":
                await self._visit()
            case str():
                raise ValueError(what)
            case _:
                if isinstance(what, events.Tick) and time.time() >= self._poll_at:
                    await self._visit()
                await self._step(what)

    # --- the device has spoken ----------------------------------------------------------------------------------

    async def _visit(self) -> None:
        """Ask what there is to do; of a device not greeted since its Register, or since our start, learn who it is."""
        self._poll_at = time.time() + self._around.sweep_seconds
        if self.device.registered and not self._greeted:
            await self._greet()
        await self._poll()

    async def _greet(self) -> None:
        """Let the client settle, read object 3, observe; what fails is done at the next visit."""
        await asyncio.sleep(self._around.settle_seconds)
        for task in self._observations.values():
            task.cancel()
        self._observations.clear()
        # The poll makes a new device known; only then is there somebody to hang presence and telemetry on.
        await self._around.ddi.poll(self.device.registration.endpoint)
        if not self.device.registered:
            return  # gone meanwhile
        self.tell_presence("online")
        self._greeted = not self.device.registration.has(3)
        if not self._greeted and await self._read_device():
            self._greeted = True
            for path in self._around.observe:
                self._watch(path)

    def tell_presence(self, state: str) -> None:
        """Tell the update manager that the device is `online` or `offline`."""
        registration = self.device.registration
        self._around.uplink.send("presence", registration.endpoint, **presence(registration, state))

    async def _read_device(self) -> bool:
        values = await self.device.read(Path(3, 0))
        if values is None:
            return False
        self._learn(values)
        await self._read_image()
        return True

    async def _read_image(self) -> Values:
        """What the device says of its image: nothing, when it does not announce object 26250 or does not answer."""
        announced = self.device.registration.has(IMAGE_OBJECT.ids[0])
        values = (await self.device.read(IMAGE_OBJECT) if announced else None) or {}
        if values:
            self._learn(values)
        return values

    def _learn(self, values: Values) -> None:
        self._around.uplink.send("telemetry", self.device.registration.endpoint, resources=as_texts(values))
        self._facts |= {path: as_text(value) for path, value in values.items() if path in ATTRIBUTES}

    def _watch(self, path: Path, notify: Callable[[Values], None] | None = None) -> None:
        if (task := self._observations.pop(path, None)) is not None:
            task.cancel()

        watching = self.device.observe(path, notify or self._learn)
        self._observations[path] = asyncio.get_running_loop().create_task(watching)

    # --- the update manager -------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        around, endpoint = self._around, self.device.registration.endpoint
        poll = await around.ddi.poll(endpoint)
        if poll.config_data and self._facts:
            named = {ATTRIBUTES[path]: text for path, text in self._facts.items() if text}
            attributes = {**named, "lwm2m.version": self.device.registration.version}
            await around.ddi.config_data(endpoint, attributes)
        if poll.cancel:
            await self._cancel(poll.cancel)
        elif poll.deployment:
            deployment = await around.ddi.deployment(poll.deployment)
            if deployment is not None:
                await self._deploy(deployment)
        elif self.journey is not None and not self.journey.feedback:
            await self._step(events.CancelRequested(confirm=False))  # forgotten there: forget it here

    async def _cancel(self, href: str) -> None:
        action_id = await self._around.ddi.cancel_action(href)
        if action_id is None:
            return
        if self.journey is not None and self.journey.action_id == action_id:
            await self._step(events.CancelRequested())
            return
        # Never begun here (or forgotten with Redis): nothing has to be undone on the device.
        cancelled = records.Feedback("closed", "success", ("cancelled before the device was told",), cancel=True)
        await self._around.ddi.feedback(self.device.registration.endpoint, action_id, cancelled)

    async def _deploy(self, wanted: Deployment | Unusable) -> None:
        self._wanted = wanted if isinstance(wanted, Deployment) else None
        if self.journey is not None and self.journey.action_id == wanted.action_id:
            return
        if self.journey is not None:
            await self._step(events.CancelRequested(confirm=False))
        if not self.device.registered:
            return  # it waits at the update manager until the device is back
        if isinstance(wanted, Unusable):
            await self._refuse(wanted.action_id, wanted.text)
            return
        if not self.device.registration.has(5):
            await self._refuse(wanted.action_id, "the device does not announce the firmware object (5)")
            return
        now = time.time()
        what = (wanted.action_id, wanted.version, wanted.url, wanted.sha256, wanted.size)
        made, effects = journey.begin(*what, now, self._pace)
        self._keep(made)
        await self._carry_out(effects)

    async def _refuse(self, action_id: int, text: str) -> None:
        self.device.note("trace", text, ok=False)
        refused = records.Feedback("closed", "failure", (f"cause: {causes.DEVICE_REFUSED}", text))
        await self._around.ddi.feedback(self.device.registration.endpoint, action_id, refused)

    # --- the journey --------------------------------------------------------------------------------------------

    @property
    def _pace(self) -> records.Pace:
        """A sleeper may be silent for as long as its registration is good."""
        pace, registration = self._around.pace, self.device.registration
        if not registration.queue_mode:
            return pace
        return replace(pace, silence=max(pace.silence, registration.lifetime * 1.1))

    async def _step(self, event: events.Event) -> None:
        if self.journey is None:
            return
        before = self.journey
        after, effects = journey.step(before, event, time.time(), self._pace)
        if after is not before:
            self._keep(after)
        await self._carry_out(effects)
        if self.journey is not None and self.journey.over:
            self._around.store.drop_journey(self.device.registration.endpoint)
            self.journey = None
            self.ring("poll")  # attributes are wanted anew, and the next assignment may wait already

    def remember(self) -> None:
        """Write into an emptied store what only this process still knows; a download under way keeps its ticket."""
        store, going = self._around.store, self.journey
        if self.device.registered:
            store.keep_registration(self.device.registration, time.time())
        if going is not None:
            store.keep_journey(self.device.registration.endpoint, going)
            if going.token and not going.over:
                store.keep_ticket(going.token, self._ticket(going), self._around.ticket_seconds)

    def _ticket(self, going: Journey) -> dict[str, object]:
        return ticket(going, self.device.registration.endpoint, self._around.tenant)

    def _keep(self, changed: Journey) -> None:
        self.journey = changed
        self._around.store.keep_journey(self.device.registration.endpoint, changed)

    async def _carry_out(self, effects: tuple[events.Effect, ...]) -> None:
        for effect in effects:
            if self.journey is None:
                return
            match effect:
                case events.ReportPhase():
                    self._report(self.journey, effect)
                case events.DeliverFeedback():
                    await self._deliver()
                case events.RevokeTicket(token):
                    self._around.store.revoke_ticket(token)
                case events.ObserveFirmware():
                    if self.device.listening():
                        self._watch(firmware.STATE, self._firmware_notified)
                        self._watch(firmware.RESULT, self._firmware_notified)
                case events.ReadFirmware():
                    await self._read_firmware()
                case events.AskDelta():
                    await self._step(await self._ask_delta(self.journey))
                case events.OfferPackage():
                    await self._offer()
                case events.ResetFirmware():
                    await self.device.write(firmware.PACKAGE_URI, "", "reset")
                case events.ExecuteUpdate():
                    await self._execute()
                case _:
                    assert_never(effect)

    def _report(self, going: Journey, report: events.ReportPhase) -> None:
        endpoint = self.device.registration.endpoint
        logger.info("%s", report.text, extra={"endpoint": endpoint, "action": going.action_id})
        self._around.uplink.send("phase", endpoint, **phase(going, report))

    async def _deliver(self) -> None:
        going = self.journey
        if going is not None and going.feedback:
            await self._around.ddi.feedback(self.device.registration.endpoint, going.action_id, going.feedback[0])
            await self._step(events.FeedbackDelivered())

    def _firmware_notified(self, values: Values) -> None:
        self.ring(observed(values))

    async def _read_firmware(self) -> None:
        if self._reads >= READS_AT_ONCE:
            return
        self._reads += 1
        waiting = len(self._inbox)
        values = await self.device.read(Path(5, 0))
        if values is None or firmware.STATE not in values:
            if not self.device.listening():
                return
            single = [await self.device.read(path) for path in (firmware.STATE, firmware.RESULT)]
            values = {path: value for part in single if part for path, value in part.items()}
        else:
            self._inbox.drop_older(waiting)
        version = await self.device.read(FIRMWARE_VERSION)
        if version:
            self._learn(version)
        going = self.journey
        deciding = going is not None and going.phase == Phase.ASSIGNED and going.way == records.Way.OPEN
        image = await self._read_image() if deciding else {}
        if values or version:
            await self._step(observed({**(values or {}), **(version or {}), **image}, full=True))

    async def _ask_delta(self, going: Journey) -> events.DeltaAnswered:
        if self._wanted is None or self._wanted.action_id != going.action_id:
            # Begun by a gateway that has gone, of whose deployment only the journey was kept: the next poll brings it.
            self._poll_at = 0.0
            return events.DeltaAnswered(retry_seconds=1.0)
        if not self._wanted.delta:
            return events.DeltaAnswered()  # a server that makes no deltas: nothing to tell
        return await self._around.ddi.delta(self._wanted.delta, going.base, going.formats)

    async def _offer(self) -> None:
        assert self.journey is not None
        current, around = self.journey, self._around
        if not self.device.listening():
            return
        token = await around.store.mint_ticket(current.token, self._ticket(current), around.ticket_seconds)
        if token != current.token:
            self._keep(replace(current, token=token))
        uri = f"{around.proxy_uri}/f/{token}/fw.bin"
        # The token is a right to download: the trace shows where, not with what.
        code = await self.device.write(firmware.PACKAGE_URI, uri, f"write {around.proxy_uri}/f/.../fw.bin to /5/0/1")
        if code is not None:
            await self._step(events.UriWritten(code.startswith("2."), code))

    async def _execute(self) -> None:
        if not self.device.listening():
            return
        code = await self.device.execute(firmware.UPDATE)
        accepted = None if code is None else code.startswith("2.")
        await self._step(events.Executed(accepted, code or ""))
