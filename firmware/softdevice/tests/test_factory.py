"""How a device in files is made: whole or not at all; and what one that cannot boot says."""

import logging
from pathlib import Path

import pytest
from device_world import KEY, NAME, NEW, until

from softdevice.board import Board
from softdevice.device import FLASH_FILE, Device
from softdevice.flash import Cut, PowerCut
from softdevice.options import DeviceOptions
from softdevice.tally import Tally

OPTIONS = DeviceOptions(server=("127.0.0.1", 9), slot_sectors=8)


def made(folder: Path) -> Device:
    return Device.on_file(NAME, folder, NEW, (KEY.public,), OPTIONS, Tally())


def test_factory_that_is_killed_in_its_work_makes_a_whole_device_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision = Board.provision

    def killed(board: Board, image: bytes) -> None:
        # After both slots are erased, in the midst of the image.
        board.flash.cut = Cut(operation=3, applied=8192)
        provision(board, image)

    with monkeypatch.context() as patch:
        patch.setattr(Board, "provision", killed)
        with pytest.raises(PowerCut):
            made(tmp_path)
    assert made(tmp_path).board.power_on().version is not None
    assert [file.name for file in tmp_path.glob("flash*")] == [FLASH_FILE]


async def test_device_that_cannot_boot_names_its_file_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = made(tmp_path)
    device.board.primary.erase(4096, 4096)
    with caplog.at_level(logging.ERROR):
        device.start()
        await until(lambda: "no bootable image" in caplog.text)
        await device.cut_power()
    assert f"remove {tmp_path / FLASH_FILE}" in caplog.text
    (tmp_path / FLASH_FILE).unlink()
    assert made(tmp_path).board.power_on().version is not None
