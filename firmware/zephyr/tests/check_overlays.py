"""The boards' devicetree overlays, merged by dtc with the partitions Zephyr gives these boards."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import kconfig
import pytest
from device import run

from softdevice.flash import SECTOR_BYTES

# Flash in bytes, and partitions as Zephyr has them: boards/nxp/frdm_k64f/frdm_k64f.dts (0fdf109184fb),
# dts/common/nordic/nrf52840_partition.dtsi (f457fb5eba2b), boards/native/native_sim/native_sim.dts (000e58ffc7e4).
BOARDS = {
    "frdm_k64f": (
        1 << 20,
        {
            "boot_partition": (0x0, 0x10000),
            "slot0_partition": (0x10000, 0x69000),
            "slot1_partition": (0x79000, 0x69000),
            "storage_partition": (0xE2000, 0x1E000),
        },
    ),
    "nrf52840dk_nrf52840": (
        1 << 20,
        {
            "boot_partition": (0x0, 0xC000),
            "slot0_partition": (0xC000, 0x77000),
            "slot1_partition": (0x83000, 0x75000),
            "storage_partition": (0xF8000, 0x8000),
        },
    ),
    "native_sim": (
        2 << 20,
        {
            "boot_partition": (0x0, 0xC000),
            "slot0_partition": (0xC000, 0x69000),
            "slot1_partition": (0x75000, 0x69000),
            "scratch_partition": (0xDE000, 0x1E000),
            "storage_partition": (0xFC000, 0x4000),
        },
    ),
}


@dataclass(frozen=True)
class Partition:
    """A partition after the merge; addresses in bytes."""

    label: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


def merged(board: str, folder: Path) -> dict[str, Partition]:
    """Partitions by devicetree label after Zephyr's and ours have been merged."""
    flash_bytes, partitions = BOARDS[board]
    nodes = "".join(
        f'{name}: partition@{start:x} {{ label = "{name}"; reg = <{start:#x} {size:#x}>; }};\n'
        for name, (start, size) in partitions.items()
    )
    source, blob = folder / "board.dts", folder / "board.dtb"
    source.write_text(
        f"/dts-v1/;\n/ {{ #address-cells = <1>; #size-cells = <1>;\nflash0: flash@0 {{ reg = <0 {flash_bytes:#x}>;\n"
        f"#address-cells = <1>; #size-cells = <1>;\n"
        f"partitions {{ #address-cells = <1>; #size-cells = <1>;\n{nodes}}};\n}};\n}};\n"
        f'/include/ "{kconfig.APPLICATION}/boards/{board}.overlay"\n'
    )
    run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", str(blob), str(source)])
    found = {}
    for name, path in (
        (name, run(["fdtget", "-t", "s", str(blob), "/__symbols__", name]).strip())
        for name in run(["fdtget", "-p", str(blob), "/__symbols__"]).split()
        if name.endswith("_partition")
    ):
        start, size = (int(cell, 16) for cell in run(["fdtget", "-t", "x", str(blob), path, "reg"]).split())
        label = run(["fdtget", "-t", "s", str(blob), path, "label"]).strip()
        assert path.endswith(f"@{start:x}"), f"{path} does not lie where its name says"
        found[name] = Partition(label, start, size)
    return found


@pytest.fixture(params=BOARDS)
def partitions(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Partition]:
    return merged(request.param, tmp_path)


def test_every_overlay_is_looked_at() -> None:
    assert {path.stem for path in kconfig.APPLICATION.glob("boards/*.overlay")} == BOARDS.keys()


def test_secondary_slot_is_one_sector_longer_than_the_primary(partitions: dict[str, Partition]) -> None:
    assert partitions["slot1_partition"].size == partitions["slot0_partition"].size + SECTOR_BYTES


def test_partitions_are_whole_sectors_that_do_not_overlap(partitions: dict[str, Partition]) -> None:
    ordered = sorted(partitions.values(), key=lambda partition: partition.start)
    for partition in ordered:
        assert (partition.start % SECTOR_BYTES, partition.size % SECTOR_BYTES) == (0, 0)
    for before, after in pairwise(ordered):
        assert before.end <= after.start


def test_everything_lies_in_the_flash_of_the_board(tmp_path: Path) -> None:
    for board, (flash_bytes, _) in BOARDS.items():
        assert max(partition.end for partition in merged(board, tmp_path).values()) <= flash_bytes


def test_labels_are_the_ones_mcuboot_knows(partitions: dict[str, Partition]) -> None:
    assert {"boot_partition", "slot0_partition", "slot1_partition", "storage_partition"} == partitions.keys()
    assert partitions["slot1_partition"].label == "image-1"
