"""One device from power-on to power-off: bootloader, firmware, reset, bootloader again."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from mcuboot_image import PublicKey
from softdevice.application import Application
from softdevice.board import Board
from softdevice.bootloader import BootAssertion
from softdevice.flash import SECTOR_BYTES, PowerCut
from softdevice.ledger import Ledger
from softdevice.options import DeviceOptions
from softdevice.overlay import OverlayStorage
from softdevice.tally import Tally
from softdevice.trailer import SwapType

_LOGGER = logging.getLogger("softdevice")
FLASH_FILE: Final = "flash.bin"
LEDGER_FILE: Final = "device.json"


class Device:
    """A board with a name, and what it must not forget: flash and ledger, in files or in memory."""

    __slots__ = ("_task", "application", "board", "ledger", "name", "options", "tally", "version")

    def __init__(self, name: str, board: Board, ledger: Ledger, options: DeviceOptions, tally: Tally) -> None:
        self.name = name
        self.board = board
        board.flash.power_lost = self._power_lost
        self.ledger = ledger
        self.options = options
        self.tally = tally
        self.version: str | None = None  # of the running image
        self.application: Application | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def on_file(
        cls, name: str, folder: Path, image: bytes, keys: tuple[PublicKey, ...], options: DeviceOptions, tally: Tally
    ) -> "Device":
        """A device whose memory is `folder`; one that is new there leaves the factory with `image`."""
        flash = folder / FLASH_FILE
        if not flash.exists():
            # Under another name until it is whole: a factory that is killed leaves no half device behind.
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = flash.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            Board.on_file(unfinished, keys, sectors=options.slot_sectors).provision(image)
            unfinished.replace(flash)
        board = Board.on_file(flash, keys, sectors=options.slot_sectors)
        ledger = Ledger.load(folder / LEDGER_FILE, name)
        ledger.save()
        return cls(name, board, ledger, options, tally)

    @classmethod
    def in_memory(
        cls, name: str, image: bytes, keys: tuple[PublicKey, ...], options: DeviceOptions, tally: Tally
    ) -> "Device":
        """A device that is new and leaves nothing behind; it shares the bytes of `image` with all that have it."""
        storage = OverlayStorage(2 * options.slot_sectors * SECTOR_BYTES, image)
        board = Board(keys, sectors=options.slot_sectors, storage=storage)
        if len(image) > board.max_image_bytes:
            raise ValueError(f"an image of {len(image)} bytes does not fit a slot of {board.max_image_bytes}")
        return cls(name, board, Ledger(None, name), options, tally)

    @property
    def is_registered(self) -> bool:
        """Whether it runs, and the server's last word was a yes."""
        registration = self.application.registration if self.application is not None else None
        return registration is not None and registration.is_registered

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
            try:
                self.version = self._boot()
            except PowerCut:
                await asyncio.sleep(self.options.boot_seconds)
                continue
            if self.version is None:
                return
            await asyncio.sleep(self.options.boot_seconds)
            self.application = Application(self.board, self.ledger, self.options, self.version, self.tally)
            try:
                await self.application.run()
            finally:
                self.application = None

    def _power_lost(self) -> None:
        """The power goes with a flash operation, once: whatever runs ends, and the device starts again."""
        self._log("the power went", logging.WARNING)
        self.board.flash.cut = None
        if self.application is not None:
            self.application.reboot("the power is back", 0.0)

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
            again = f"; remove {self.ledger.path.parent / FLASH_FILE} to have it made anew" if self.ledger.path else ""
            self._log(f"no bootable image{again}", logging.ERROR)
            return None
        word = {SwapType.NONE: "", SwapType.REVERT: ", reverted"}.get(outcome.swapped, ", swapped in")
        self._log(f"boots {outcome.version}{word}")
        return str(outcome.version)

    def _log(self, text: str, level: int = logging.INFO) -> None:
        _LOGGER.log(level, text, extra={"endpoint": self.name})
