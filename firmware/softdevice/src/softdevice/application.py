"""The firmware of one boot: registers, answers the server, reports, downloads, and confirms itself when all is well."""

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from typing import Any

from coap_wire import Code, Message, encode_uint
from coap_wire.options import OBSERVE
from lwm2m.paths import Path
from softdevice import management
from softdevice.board import Board
from softdevice.coap_endpoint import Address, CoapEndpoint, Reply
from softdevice.firmware_update import FirmwareUpdate, resolve
from softdevice.ledger import Ledger
from softdevice.observations import Observations
from softdevice.options import DeviceOptions, Misbehaviour, Radio
from softdevice.registration import Registration
from softdevice.resources import (
    BATTERY_LEVEL,
    CURRENT_TIME,
    ERROR_CODES,
    FREE_MEMORY,
    LIFETIME,
    RADIO_STRENGTH,
    REBOOT,
    RESET_ERRORS,
    UPDATE_TRIGGER,
    Resources,
)
from softdevice.trailer import TrailerError

_LOGGER = logging.getLogger("softdevice")
_MAX_TEXT_BYTES = 64


class Application:
    """From power-on to the next reset. `version` is that of the running image."""

    def __init__(self, board: Board, ledger: Ledger, options: DeviceOptions, version: str) -> None:
        self.name = ledger.endpoint
        self.board = board
        self.ledger = ledger
        self.options = options
        self.resources = Resources(
            serial=self.name,
            model=options.model,
            version=version,
            lifetime_seconds=options.lifetime_seconds,
            queue_mode=options.queue_mode,
        )
        self.endpoint = CoapEndpoint(
            self._answer,
            transmission=options.transmission,
            link=Radio(options),
            delay_seconds=options.link_delay_seconds,
        )
        self.observations = Observations(self.resources, self.endpoint, confirmable=options.confirmable_notifications)
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
        self._reset: asyncio.Event = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._confirming = False
        self._random = random.Random(self.name)

    async def run(self) -> None:
        """Run until `reboot`; cancelled from outside it is a power cut, unless `leave` was awaited before."""
        try:
            await self.endpoint.open()
            self.registration = Registration(
                self.name,
                self.endpoint,
                self._find_server,
                self.options,
                # Observations end with a registration; the new one may be answered and used within one datagram.
                registering=self.observations.clear,
                registered=self._registered,
            )
            if not self.board.confirmed:
                self._log("runs on trial")
                self._start(self._watchdog())
            self._start(self.registration.run())
            self._start(self._report())
            await self._reset.wait()
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
        asyncio.get_running_loop().call_later(after_seconds, self._reset.set)

    # What the server asks for.

    def _answer(self, request: Message, peer: Address) -> Reply | None:
        if peer != self._server:
            return None
        self._refresh_clock()
        decision = management.decide(request, self.resources, self._refusal)
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
                self.firmware.execute()
            case management.Execute(path) if path == REBOOT:
                self.reboot("the server asked for it", self.options.reboot_seconds)
            case management.Execute(path) if path == RESET_ERRORS:
                self._set(ERROR_CODES, {0: 0})
            case management.Execute(path) if path == UPDATE_TRIGGER and self.registration is not None:
                self.registration.update_now()

    # What the device does by itself.

    def _registered(self) -> None:
        if self.board.confirmed or self._confirming:
            return
        self._confirming = True
        if Misbehaviour.NEVER_CONFIRMS in self.options.misbehaviours:
            self._log("does not confirm, as told to")
            return
        self._start(self._confirm())

    async def _confirm(self) -> None:
        # Only an image that has reached its server can be replaced over the air: that is what is proved first.
        await asyncio.sleep(self.options.self_test_seconds)
        if not self.board.self_test():
            self._log("self-test failed, the old image will come back", logging.ERROR)
            return
        try:
            self.board.confirm()
        except TrailerError as error:
            self._log(f"cannot confirm: {error}", logging.ERROR)
            return
        self._log("registered and tested: confirmed")

    async def _watchdog(self) -> None:
        await asyncio.sleep(self.options.confirm_deadline_seconds)
        if not self.board.confirmed:
            self.reboot("not confirmed in time", 0.0)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.options.report_seconds)
            level = self.resources[BATTERY_LEVEL]
            if isinstance(level, int) and level > 20:
                self._set(BATTERY_LEVEL, level - 1)
            self._set(FREE_MEMORY, self._random.randint(80, 110))
            self._set(RADIO_STRENGTH, self._random.randint(-95, -75))

    def _refresh_clock(self) -> None:
        self.resources.set(CURRENT_TIME, int(time.time()))

    def _set(self, path: Path, value: Any) -> None:
        if self.resources.set(path, value):
            self.observations.changed(path)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(asyncio.create_task(work))

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self.name})
