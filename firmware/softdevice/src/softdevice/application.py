"""The firmware of one boot: registers, answers the server, reports, downloads, and confirms itself when all is well."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from coap_wire import Code, Message, encode_uint
from coap_wire.options import OBSERVE
from lwm2m.paths import Path
from softdevice import management, representations
from softdevice.board import Board
from softdevice.coap_endpoint import Address, CoapEndpoint
from softdevice.firmware_rules import LOW_BATTERY_PERCENT
from softdevice.firmware_update import FirmwareUpdate
from softdevice.flash import PowerCut
from softdevice.image_object import CONFIRMED, image_values
from softdevice.ledger import Ledger
from softdevice.observations import Observations
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.personalities import CUSTOMER_CODE_TEXT, WRONG_VERSION_TEXT, Personality, personality_of
from softdevice.profiles import spelled
from softdevice.pull import resolve
from softdevice.registration import Registration
from softdevice.reply import Reply
from softdevice.resources import (
    APPLICATION_TYPE,
    BATTERY_LEVEL,
    CURRENT_TIME,
    ERROR_CODES,
    FREE_MEMORY,
    LIFETIME,
    RADIO_STRENGTH,
    REBOOT,
    RESET_ERRORS,
    TEMPERATURE,
    UPDATE_TRIGGER,
    Resources,
)
from softdevice.tally import Tally
from softdevice.trailer import TrailerError

_LOGGER = logging.getLogger("softdevice")
_MAX_TEXT_BYTES = 64
# Percent a report takes off the battery level, and where it stops.
_DRAIN = {False: (1, LOW_BATTERY_PERCENT), True: (20, 5)}


class Application:
    """From power-on to the next reset. `version` is that of the running image."""

    def __init__(
        self, board: Board, ledger: Ledger, options: DeviceOptions, version: str, tally: Tally | None = None
    ) -> None:
        self.name = ledger.endpoint
        self._tally = tally or Tally()
        self._dice = options.dice_of(self.name, ledger.boots)
        self.board = board
        self.ledger = ledger
        self.options = options
        self.personality = (
            Personality.NEVER_CONFIRMS
            if Misbehaviour.NEVER_CONFIRMS in options.misbehaviours
            else personality_of(board.running_image())
        )
        says = WRONG_VERSION_TEXT if self.personality == Personality.WRONG_VERSION else version
        is_customers = self.personality == Personality.CUSTOMER_CODE
        self.resources = Resources(
            serial=self.name,
            model=options.model,
            version=spelled(options.profile, says),
            lifetime_seconds=options.lifetime_seconds,
            queue_mode=options.queue_mode,
            profile=options.profile,
            more_objects=(TEMPERATURE.ids[0],) if is_customers else (),
        )
        if is_customers:
            self.resources.set(APPLICATION_TYPE, CUSTOMER_CODE_TEXT)
        for path, value in image_values(
            board,
            boots=ledger.boots,
            delta_formats=options.delta_formats,
            application=CUSTOMER_CODE_TEXT if is_customers else self.personality.value,
        ).items():
            self.resources.set(path, value)
        self.endpoint = CoapEndpoint(
            self._answer,
            transmission=options.transmission,
            link=options.link_of(self.name, ledger.boots),
            dice=self._dice,
            tally=self._tally,
        )
        self.observations = Observations(self.resources, self.endpoint, confirmable=options.profile.confirmable)
        self.firmware = FirmwareUpdate(
            board,
            ledger,
            self.resources,
            self.endpoint,
            options,
            changed=self.observations.changed,
            reboot=self.reboot,
        )
        self.registration: Registration | None = None
        self._server: Address | None = None
        # Not an Event: its queue takes 700 bytes.
        self._reset: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[Any]] = []
        self._confirming = False

    async def run(self) -> None:
        """Run until `reboot`; cancelled from outside it is a power cut, unless `leave` was awaited before."""
        try:
            await self.endpoint.open()
            self.registration = Registration(
                self.name,
                self.endpoint,
                self._find_server,
                self.options,
                links=representations.registration_links(self.options.profile, self.resources.model).encode(),
                dice=self._dice,
                tally=self._tally,
                # Observations end with a registration; the new one may be answered and used within one datagram.
                registering=self.observations.clear,
                registered=self._registered,
            )
            if self.personality == Personality.HANGS:
                self._log("hangs, before it has a network", logging.WARNING)
                await self._watchdog()
                return
            self.firmware.start()
            if not self.board.confirmed:
                self._log("runs on trial")
                early = self.options.profile.confirms_early and self.personality != Personality.NEVER_CONFIRMS
                if early or self.personality == Personality.CONFIRMS_EARLY:
                    self._confirm_early()
                else:
                    self._start(self._watchdog())
            self._start(self.registration.run())
            self._start(self._report())
            await self._reset
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.firmware.stop()
            self.endpoint.close()

    async def _find_server(self) -> Address:
        while True:
            try:
                self._server = await resolve(*self.options.server)
                return self._server
            except OSError as error:
                self._log(f"the server's name cannot be resolved: {error}", logging.WARNING)
                await asyncio.sleep(self.options.retry_seconds)

    async def leave(self) -> None:
        """De-register, before a clean stop."""
        if self.registration is not None and self.options.deregisters:
            await self.registration.deregister()

    def reboot(self, reason: str, after_seconds: float) -> None:
        """Reset after a while; what is in RAM is lost."""
        self._log(f"reboots: {reason}")
        asyncio.get_running_loop().call_later(after_seconds, self._reset_now)

    def _reset_now(self) -> None:
        if not self._reset.done():
            self._reset.set_result(None)

    # What the server asks for.

    def _answer(self, request: Message, peer: Address) -> Reply | None:
        if peer != self._server:
            return None
        self._refresh_clock()
        try:
            decision = management.decide(request, self.resources, self._refusal, self.firmware.push)
        except PowerCut:
            # Nobody is there to answer, now or until the reset that is on its way.
            self._server = None
            return None
        reply = decision.reply
        for effect in decision.effects:
            match effect:
                case management.Observe():
                    sequence = self.observations.start(effect, peer)
                    if sequence is not None:
                        reply = Reply(reply.code, reply.payload, ((OBSERVE, encode_uint(sequence)), *reply.options))
                case management.CancelObserve():
                    self.observations.cancel(effect.path)
                case management.Write() | management.Execute():
                    # The reply goes out first: an Execute may be the last thing this boot does.
                    asyncio.get_running_loop().call_soon(self._perform, effect)
        return reply

    def _refusal(self, effect: management.Write | management.Execute) -> int | None:
        if effect.path.object_id == 5:
            return self.firmware.refusal(effect)
        if isinstance(effect, management.Write):
            value = effect.value
            if type(value) is not type(self.resources[effect.path]):
                return Code.BAD_REQUEST
            if isinstance(value, int) and not (effect.path == LIFETIME) <= value < 1 << 32:
                return Code.BAD_REQUEST
            if isinstance(value, str) and len(value.encode()) > _MAX_TEXT_BYTES:
                return Code.BAD_REQUEST
        return None

    def _perform(self, effect: management.Write | management.Execute) -> None:
        match effect:
            case management.Write() if effect.path.object_id == 5:
                self.firmware.write(effect)
            case management.Write():
                self._set(effect.path, effect.value)
                if effect.path == LIFETIME and self.registration is not None:
                    self.registration.set_lifetime(int(effect.value))
            case management.Execute() if effect.path.object_id == 5:
                self.firmware.execute(effect.path)
            case management.Execute(path) if path == REBOOT:
                self.reboot("the server asked for it", self.options.reboot_seconds)
            case management.Execute(path) if path == RESET_ERRORS:
                self._set(ERROR_CODES, {0: 0})
            case management.Execute(path) if path == UPDATE_TRIGGER and self.registration is not None:
                self.registration.update_now()

    # What the device does by itself.

    def _registered(self) -> None:
        # One that crashes does so at every boot, confirmed or not.
        if self._confirming or (self.board.confirmed and self.personality != Personality.CRASHES):
            return
        self._confirming = True
        if self.personality == Personality.NEVER_CONFIRMS:
            self._log("does not confirm itself")
            return
        self._start(self._confirm())

    async def _confirm(self) -> None:
        # Only an image that has reached its server can be replaced over the air: that is what is proved first.
        await asyncio.sleep(self.options.self_test_seconds)
        if self.personality == Personality.CRASHES:
            self.reboot("it crashed in its self-test", 0.0)
            return
        if not self.board.self_test():
            self._log("self-test failed, the old image will come back", logging.ERROR)
            return
        try:
            self.board.confirm()
        except TrailerError as error:
            self._log(f"cannot confirm: {error}", logging.ERROR)
            return
        self._set(CONFIRMED, True)
        self.firmware.confirmed()
        self._log("registered and tested: confirmed")

    def _confirm_early(self) -> None:
        """What dm-lwm2m does: keep the image before any server was reached, and erase the one to go back to."""
        try:
            self.board.confirm()
            self.board.secondary.erase(0, self.board.secondary.size)
        except TrailerError as error:
            self._log(f"cannot confirm: {error}", logging.ERROR)
        except PowerCut:
            pass  # the reset is on its way
        else:
            self.firmware.confirmed()
            self._log("confirmed, before any server was reached")

    async def _watchdog(self) -> None:
        await asyncio.sleep(self.options.confirm_deadline_seconds)
        # One that hangs is reset whether it was confirmed or not: nobody feeds the watchdog.
        if not self.board.confirmed or self.personality == Personality.HANGS:
            self.reboot("not confirmed in time", 0.0)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.options.report_seconds)
            level = self.resources[BATTERY_LEVEL]
            step, floor = _DRAIN[self.personality == Personality.DRAINS_BATTERY]
            if isinstance(level, int) and level > floor:
                self._set(BATTERY_LEVEL, max(floor, level - step))
            self.firmware.reconsider()
            self._set(FREE_MEMORY, self._dice.randint(80, 110))
            self._set(RADIO_STRENGTH, self._dice.randint(-95, -75))

    def _refresh_clock(self) -> None:
        self.resources.set(CURRENT_TIME, int(self.options.wall_clock()))

    def _set(self, path: Path, value: Any) -> None:
        if self.resources.set(path, value):
            self.observations.changed(path)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(work))

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self.name})
