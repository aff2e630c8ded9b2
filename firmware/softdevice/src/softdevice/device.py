"""One device from power-on to power-off: bootloader, firmware, reset, bootloader again; all on files in a folder."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from mcuboot_image import PublicKey
from softdevice.application import Application
from softdevice.board import Board
from softdevice.bootloader import BootAssertion
from softdevice.ledger import Ledger
from softdevice.options import DeviceOptions
from softdevice.tally import Tally
from softdevice.trailer import SwapType

_LOGGER = logging.getLogger("softdevice")
FLASH_FILE: Final = "flash.bin"
LEDGER_FILE: Final = "device.json"


class Device:
    """A board with a name. Everything it must not forget is in `folder`."""

    def __init__(
        self, name: str, folder: Path, options: DeviceOptions, keys: tuple[PublicKey, ...], tally: Tally | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.options = options
        self.tally = tally or Tally()
        self.board = Board.on_file(folder / FLASH_FILE, keys, sectors=options.slot_sectors)
        self.ledger = Ledger.load(folder / LEDGER_FILE, name)
        self.application: Application | None = None
        self._task: asyncio.Task[None] | None = None

    def provision(self, image: bytes) -> None:
        """Put the factory image into a blank board; a board that was used before keeps what it has."""
        if self.board.is_blank():
            self.board.provision(image)
        self.ledger.save()

    def start(self) -> None:
        """Switch on."""
        self._task = asyncio.create_task(self._run(), name=self.name)
        self._task.add_done_callback(self._ended)

    async def stop(self, *, deregister: bool | None = None) -> None:
        """Switch off; politely when `deregister` (or the options) say so."""
        if self.application is not None and (self.options.deregisters if deregister is None else deregister):
            await self.application.leave()
        await self.cut_power()

    async def cut_power(self) -> None:
        """Switch off without a word."""
        if self._task is None:
            return
        self._task.cancel()
        task, self._task = self._task, None
        await asyncio.gather(task, return_exceptions=True)
        self.ledger.save()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOGGER.error("the device broke down", exc_info=error, extra={"endpoint": self.name})

    async def _run(self) -> None:
        while True:
            version = self._boot()
            if version is None:
                return
            await asyncio.sleep(self.options.boot_seconds)
            self.application = Application(self.board, self.ledger, self.options, version, self.tally)
            try:
                await self.application.run()
            finally:
                self.application = None

    def _boot(self) -> str | None:
        try:
            outcome = self.board.power_on()
        except BootAssertion as assertion:
            self._log(f"the bootloader stopped: {assertion}", logging.ERROR)
            return None
        self.ledger.boots += 1
        if outcome.swapped in (SwapType.TEST, SwapType.PERMANENT):
            self.ledger.installs += 1
        elif outcome.swapped == SwapType.REVERT:
            self.ledger.reverts += 1
        if outcome.swapped != SwapType.NONE:
            # Secondary holds something else now: a download begun before cannot go on.
            self.ledger.progress = self.ledger.checkpoint = None
        self.ledger.save()
        if outcome.version is None:
            self._log("no bootable image", logging.ERROR)
            return None
        word = {SwapType.NONE: "", SwapType.REVERT: ", reverted"}.get(outcome.swapped, ", swapped in")
        self._log(f"boots {outcome.version}{word}")
        return str(outcome.version)

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self.name})
