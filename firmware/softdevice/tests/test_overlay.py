"""Shared flash content holds what a plain memory holds, and stores only what differs."""

from hypothesis import given
from hypothesis import strategies as st

from softdevice.flash import SECTOR_BYTES, MemoryStorage
from softdevice.overlay import OverlayStorage

SIZE = 4 * SECTOR_BYTES
BASE = bytes(range(256)) * 20
WRITES = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, 3 * SECTOR_BYTES), st.sampled_from((0x00, 0x5A, 0xFF))),
    max_size=8,
)


@given(WRITES)
def test_overlay_reads_like_plain_memory(writes: list[tuple[int, int, int]]) -> None:
    plain, shared = MemoryStorage(SIZE), OverlayStorage(SIZE, BASE)
    plain.write(0, BASE)
    for offset, length, value in writes:
        data = bytes([value]) * min(length, SIZE - offset)
        plain.write(offset, data)
        shared.write(offset, data)
        assert shared.read(offset, len(data)) == data
    assert shared.read(0, SIZE) == plain.read(0, SIZE)
    assert shared.read(5000, 3000) == plain.read(5000, 3000)


def test_device_that_changes_nothing_holds_nothing_and_an_erased_sector_costs_nothing() -> None:
    shared = OverlayStorage(SIZE, BASE)
    shared.write(0, BASE)
    shared.write(2 * SECTOR_BYTES, b"\xff" * SECTOR_BYTES)
    assert shared.held_bytes == 0
    shared.write(0, b"\xff" * SECTOR_BYTES)
    assert shared.held_bytes == 0 and shared.read(0, 16) == b"\xff" * 16
    shared.write(10, b"x")
    assert shared.held_bytes == SECTOR_BYTES
