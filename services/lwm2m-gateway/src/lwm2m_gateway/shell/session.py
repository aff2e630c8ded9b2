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
from lwm2m_gateway.coap.devices import Devices, NoAnswer, Values
from lwm2m_gateway.sessions import causes, events, journey, records
from lwm2m_gateway.sessions.records import Journey
from lwm2m_gateway.sessions.registrations import Registration
from lwm2m_gateway.shell.inbox import Doorbell, Inbox
from lwm2m_gateway.shell.surroundings import Surroundings
from lwm2m_gateway.shell.values import ATTRIBUTES, FIRMWARE_VERSION, as_text, as_texts, observed, presence, ticket

logger = logging.getLogger(__name__)

IDLE_SECONDS = 3600.0
# After a failure the update manager is asked again this soon, spread so that a fleet does not knock at once.
RETRY_SECONDS = (3.0, 9.0)


class Session:
    """Events in, effects out, in order; `devices` may be asked only while the device listens.

    One whose device has gone (`registered` is False) lives on for its journey only, and calls `left` at the end of it.
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
        self.registration = registration
        self.registered = True
        self.journey = going
        self._left = left
        self._devices = devices
        self._around = around
        self._inbox = Inbox()
        self._observations: dict[Path, asyncio.Task[None]] = {}
        self._facts: dict[Path, str] = {}
        self._greeted = False
        self._poll_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take events."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    def ring(self, what: Doorbell) -> None:
        """Hand in an event."""
        self._inbox.put(what)

    def gone(self) -> None:
        """The device has left: it is asked and listened to no more."""
        self.registered = False
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
                self._note("trace", f"waiting: {error or type(error).__name__}", ok=False)
                await asyncio.sleep(1.0)
            except Exception:
                logger.exception("a session stumbled", extra={"endpoint": self.registration.endpoint})
            if self.journey is None and not self.registered:
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
        if self.registered and not self._greeted:
            await self._greet()
        await self._poll()

    async def _greet(self) -> None:
        """Let the client settle, read object 3, observe; what fails is done at the next visit."""
        await asyncio.sleep(self._around.settle_seconds)
        for task in self._observations.values():
            task.cancel()
        self._observations.clear()
        # The poll makes a new device known; only then is there somebody to hang presence and telemetry on.
        await self._around.ddi.poll(self.registration.endpoint)
        if not self.registered:
            return  # gone meanwhile
        self.tell_presence("online")
        self._greeted = not self.registration.has(3)
        if not self._greeted and await self._read_device():
            self._greeted = True
            for path in self._around.observe:
                self._watch(path)

    def tell_presence(self, state: str) -> None:
        """Tell the update manager that the device is `online` or `offline`."""
        self._around.uplink.send("presence", self.registration.endpoint, **presence(self.registration, state))

    async def _read_device(self) -> bool:
        values = await self._read(Path(3, 0))
        if values is None:
            return False
        self._learn(values)
        return True

    def _learn(self, values: Values) -> None:
        self._around.uplink.send("telemetry", self.registration.endpoint, resources=as_texts(values))
        self._facts |= {path: as_text(value) for path, value in values.items() if path in ATTRIBUTES}

    def _watch(self, path: Path, notify: Callable[[Values], None] | None = None) -> None:
        if (task := self._observations.pop(path, None)) is not None:
            task.cancel()

        def heard(values: Values) -> None:
            self._answered()
            (notify or self._learn)(values)

        watching = self._devices.observe(self.registration, path, heard)
        self._observations[path] = asyncio.get_running_loop().create_task(watching)

    # --- the update manager -------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        around, endpoint = self._around, self.registration.endpoint
        poll = await around.ddi.poll(endpoint)
        if poll.config_data and self._facts:
            named = {ATTRIBUTES[path]: text for path, text in self._facts.items() if text}
            attributes = {**named, "lwm2m.version": self.registration.version}
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
        await self._around.ddi.feedback(self.registration.endpoint, action_id, cancelled)

    async def _deploy(self, wanted: Deployment | Unusable) -> None:
        if self.journey is not None and self.journey.action_id == wanted.action_id:
            return
        if self.journey is not None:
            await self._step(events.CancelRequested(confirm=False))
        if not self.registered:
            return  # it waits at the update manager until the device is back
        if isinstance(wanted, Unusable):
            await self._refuse(wanted.action_id, wanted.text)
            return
        if not self.registration.has(5):
            await self._refuse(wanted.action_id, "the device does not announce the firmware object (5)")
            return
        now = time.time()
        what = (wanted.action_id, wanted.version, wanted.url, wanted.sha256, wanted.size)
        made, effects = journey.begin(*what, now, self._pace)
        self._keep(made)
        await self._carry_out(effects)

    async def _refuse(self, action_id: int, text: str) -> None:
        self._note("trace", text, ok=False)
        refused = records.Feedback("closed", "failure", (f"cause: {causes.DEVICE_REFUSED}", text))
        await self._around.ddi.feedback(self.registration.endpoint, action_id, refused)

    # --- the journey --------------------------------------------------------------------------------------------

    @property
    def _pace(self) -> records.Pace:
        """A sleeper may be silent for as long as its registration is good."""
        pace, registration = self._around.pace, self.registration
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
            self._around.store.drop_journey(self.registration.endpoint)
            self.journey = None
            self.ring("poll")  # attributes are wanted anew, and the next assignment may wait already

    def remember(self) -> None:
        """Write into an emptied store what only this process still knows; a download under way keeps its ticket."""
        store, going = self._around.store, self.journey
        if self.registered:
            store.keep_registration(self.registration, time.time())
        if going is not None:
            store.keep_journey(self.registration.endpoint, going)
            if going.token and not going.over:
                store.keep_ticket(going.token, self._ticket(going), self._around.ticket_seconds)

    def _ticket(self, going: Journey) -> dict[str, object]:
        return ticket(going, self.registration.endpoint, self._around.tenant)

    def _keep(self, changed: Journey) -> None:
        self.journey = changed
        self._around.store.keep_journey(self.registration.endpoint, changed)

    async def _carry_out(self, effects: tuple[events.Effect, ...]) -> None:
        for effect in effects:
            if self.journey is None:
                return
            match effect:
                case events.ReportPhase(text, cause):
                    self._report(text, cause)
                case events.DeliverFeedback():
                    await self._deliver()
                case events.RevokeTicket():
                    self._around.store.revoke_ticket(self.journey.token)
                case events.ObserveFirmware():
                    if self._listening():
                        self._watch(firmware.STATE, self._firmware_notified)
                        self._watch(firmware.RESULT, self._firmware_notified)
                case events.ReadFirmware():
                    await self._read_firmware()
                case events.OfferPackage():
                    await self._offer()
                case events.ResetFirmware():
                    await self._ask("reset", self._devices.write_text(self.registration, firmware.PACKAGE_URI, ""))
                case events.ExecuteUpdate():
                    await self._execute()
                case _:
                    assert_never(effect)

    def _report(self, text: str, cause: str | None) -> None:
        assert self.journey is not None
        current = self.journey
        logger.info("%s", text, extra={"endpoint": self.registration.endpoint, "action": current.action_id})
        self._around.uplink.send(
            "phase",
            self.registration.endpoint,
            actionId=current.action_id,
            phase=str(current.phase),
            text=text,
            state=current.state,
            result=current.result,
            cause=cause,
        )

    async def _deliver(self) -> None:
        going = self.journey
        if going is not None and going.feedback:
            await self._around.ddi.feedback(self.registration.endpoint, going.action_id, going.feedback[0])
            await self._step(events.FeedbackDelivered())

    def _firmware_notified(self, values: Values) -> None:
        self.ring(observed(values))

    async def _read_firmware(self) -> None:
        waiting = len(self._inbox)
        values = await self._read(Path(5, 0))
        if values is None or firmware.STATE not in values:
            if not self._listening():
                return
            single = [await self._read(path) for path in (firmware.STATE, firmware.RESULT)]
            values = {path: value for part in single if part for path, value in part.items()}
        else:
            self._inbox.drop_older(waiting)
        version = await self._read(FIRMWARE_VERSION)
        if version:
            self._learn(version)
        if values or version:
            await self._step(observed({**(values or {}), **(version or {})}))

    async def _offer(self) -> None:
        assert self.journey is not None
        current, around = self.journey, self._around
        if not self._listening():
            return
        token = await around.store.mint_ticket(current.token, self._ticket(current), around.ticket_seconds)
        if token != current.token:
            self._keep(replace(current, token=token))
        uri = f"{around.proxy_uri}/f/{token}/fw.bin"
        # The token is a right to download: the trace shows where, not with what.
        write = self._devices.write_text(self.registration, firmware.PACKAGE_URI, uri)
        code = await self._ask(f"write {around.proxy_uri}/f/.../fw.bin to /5/0/1", write)
        if code is not None:
            await self._step(events.UriWritten(code.startswith("2."), code))

    async def _execute(self) -> None:
        if not self._listening():
            return
        code = await self._ask("execute /5/0/2", self._devices.execute(self.registration, firmware.UPDATE))
        accepted = None if code is None else code.startswith("2.")
        await self._step(events.Executed(accepted, code or ""))

    # --- asking the device --------------------------------------------------------------------------------------

    def _listening(self) -> bool:
        return self.registered and self.registration.awake(time.time(), self._around.awake_seconds)

    async def _read(self, path: Path) -> Values | None:
        """Values of a path; None when the device does not listen, answer or have it."""
        if not self._listening():
            return None
        try:
            answer = await self._devices.read(self.registration, path)
        except NoAnswer as error:
            self._note("in", f"no answer to read {error}", ok=False)
            return None
        self._answered()
        # The Package URI holds the token.
        values = [(where, value) for where, value in answer.values.items() if where != firmware.PACKAGE_URI]
        shown = ", ".join(f"{where}={as_text(value)[:40]}" for where, value in values[:8])
        self._note("in", f"read {path}: {answer.code} {shown}".rstrip(), ok=answer.ok)
        return answer.values if answer.ok else None

    async def _ask(self, what: str, request: "asyncio.Future[object] | object") -> str | None:
        """Code of the answer to a Write or Execute; None without one."""
        if not self._listening():
            request.close()  # type: ignore[union-attr]
            return None
        self._note("out", what, ok=True)
        try:
            answer = await request  # type: ignore[misc]
        except NoAnswer as error:
            self._note("in", f"no answer to {what}: {error}", ok=False)
            return None
        self._answered()
        code: str = answer.code
        self._note("in", f"{what}: {code}", ok=code.startswith("2."))
        return code

    def _answered(self) -> None:
        """Any answer and any notification proves that the device is awake (OMA Core 6.5.2)."""
        self.registration = replace(self.registration, seen_at=time.time())

    def _note(self, direction: str, text: str, *, ok: bool) -> None:
        self._around.uplink.send("trace", self.registration.endpoint, direction=direction, text=text[:300], ok=ok)
