"""Devices that lose power at flash operations of an update; how many operations it has is counted beforehand."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mcuboot_image import PublicKey
from softdevice.board import Board
from softdevice.coap_endpoint import Transmission
from softdevice.device import Device
from softdevice.flash import SECTOR_BYTES, Cut
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.package import Package
from softdevice.tally import Tally

START_SECONDS = 0.02
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Kind:
    """Devices that are alike: `image` is what they run, `package` what they are going to fetch, in blocks."""

    prefix: str
    image: bytes
    package: bytes
    sectors: int
    block_size: int
    takes_deltas: bool = False

    def use(self, board: Board) -> None:
        """Leave something in secondary, as earlier updates do: it has to be erased."""
        for sector in range(self.sectors - 1):
            board.secondary.write(sector * SECTOR_BYTES, b"left by an update...")

    def operations(self, key: PublicKey) -> int:
        """Flash operations of one update, from the first byte of the download to the confirmation."""
        board = Board((key,), sectors=self.sectors)
        board.provision(self.image)
        self.use(board)
        before = board.flash.operations
        package = Package(board, 3)
        for at in range(0, len(self.package), self.block_size):
            package.feed(self.package[at : at + self.block_size])
        package.finish()
        board.request_test()
        board.power_on()
        board.confirm()
        return board.flash.operations - before

    def devices(
        self, cuts: Sequence[Cut], folder: Path, server: tuple[str, int], keys: tuple[PublicKey, ...]
    ) -> list[Device]:
        """One device for each cut, not yet switched on."""
        options = DeviceOptions(
            server=server,
            lifetime_seconds=60,
            transmission=Transmission(ack_timeout_seconds=1.0),
            block_size=self.block_size,
            slot_sectors=self.sectors,
            deregisters=False,
            misbehaviours=frozenset() if self.takes_deltas else frozenset({Misbehaviour.TAKES_NO_DELTAS}),
        ).hurried()
        made = []
        for number, cut in enumerate(cuts, 1):
            name = f"{self.prefix}{number:04d}"
            device = Device.on_file(name, folder / name, self.image, keys, options, Tally())
            self.use(device.board)
            flash = device.board.flash
            flash.cut = replace(cut, operation=flash.operations + cut.operation)
            made.append(device)
        return made


@contextmanager
def switched_on(devices: list[Device]) -> Iterator[None]:
    """The devices run in a thread of their own; afterwards they are off."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="devices")
    thread.start()

    async def on() -> None:
        for device in devices:
            device.start()
            await asyncio.sleep(START_SECONDS)

    async def off() -> None:
        await asyncio.gather(*(device.cut_power() for device in devices))

    try:
        asyncio.run_coroutine_threadsafe(on(), loop).result(START_SECONDS * len(devices) + STOP_SECONDS)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(off(), loop).result(STOP_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STOP_SECONDS)
        loop.close()
