"""The flash keeps its rules, counts, and loses power where it is told to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softdevice.flash import Cut, FileStorage, Flash, FlashError, MemoryStorage, Operation, PowerCut

AREAS = (("primary", 4096, 2), ("secondary", 4096, 3))


def test_new_flash_is_erased_and_areas_follow_each_other() -> None:
    flash = Flash(AREAS)
    assert flash["secondary"].base == 8192 and flash.size == 5 * 4096
    assert flash["primary"].content() == b"\xff" * 8192


def test_write_to_a_programmed_unit_is_refused_and_changes_nothing() -> None:
    flash = Flash(AREAS)
    flash["primary"].write(8, b"abcd")
    with pytest.raises(FlashError, match="not erased"):
        flash["primary"].write(4, b"12345678")
    assert flash["primary"].read(4, 8) == b"\xff\xff\xff\xffabcd"
    flash["primary"].erase(0, 4096)
    flash["primary"].write(4, b"12345678")


@pytest.mark.parametrize(("offset", "length"), [(1, 4), (0, 3), (8192, 4), (8190, 4), (-4, 4)])
def test_misaligned_or_outside_writes_are_refused(offset: int, length: int) -> None:
    with pytest.raises(FlashError):
        Flash(AREAS)["primary"].write(offset, b"a" * length)


@pytest.mark.parametrize(("offset", "length"), [(4, 4096), (0, 100), (0, 0), (4096, 8192)])
def test_erase_of_less_than_sectors_is_refused(offset: int, length: int) -> None:
    with pytest.raises(FlashError):
        Flash(AREAS)["primary"].erase(offset, length)


def test_observer_sees_every_operation_and_rejected_writes() -> None:
    flash = Flash(AREAS)
    seen: list[Operation] = []
    flash.observer = seen.append
    flash["secondary"].write(0, b"abcd")
    with pytest.raises(FlashError):
        flash["secondary"].write(0, b"abcd")
    flash["secondary"].erase(4096, 8192)
    assert [(one.kind, one.offset, one.length) for one in seen] == [("W", 0, 4), ("R", 0, 4), ("E", 4096, 8192)]
    assert flash.operations == 2


def test_power_cut_tears_a_write_at_its_prefix_and_an_erase_at_either_end() -> None:
    flash = Flash(AREAS)
    flash.cut = Cut(1, applied=4)
    with pytest.raises(PowerCut):
        flash["primary"].write(0, b"abcdefgh")
    assert flash["primary"].read(0, 8) == b"abcd\xff\xff\xff\xff"
    flash.storage.write(0, b"x" * 4096)
    flash.cut = Cut(2, applied=96, suffix=True)
    with pytest.raises(PowerCut):
        flash["primary"].erase(0, 4096)
    assert flash["primary"].read(3996, 100) == b"xxxx" + b"\xff" * 96


@pytest.mark.parametrize(("cut", "stored"), [(None, 7), (Cut(1, applied=0), 3), (Cut(1, applied=1), 7)])
def test_hardware_counter_is_set_in_one_operation_or_not_at_all(cut: Cut | None, stored: int) -> None:
    flash = Flash(AREAS, counters=(3,))
    seen: list[Operation] = []
    flash.observer = seen.append
    flash.cut = cut
    if cut is None:
        flash.set_counter(0, 7)
        assert seen == [Operation("C", "", 0, 7)]
    else:
        with pytest.raises(PowerCut):
            flash.set_counter(0, 7)
    assert flash.counters == [stored] and flash.operations == 1


@pytest.fixture(name="factory", scope="session")
def _factory(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    return tmp_path_factory


@given(
    writes=st.lists(
        st.tuples(st.integers(0, 8191), st.binary(min_size=1, max_size=64)).filter(lambda w: w[0] + len(w[1]) <= 8192),
        max_size=8,
    )
)
def test_file_and_memory_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]]
) -> None:
    memory = MemoryStorage(8192)
    file = FileStorage(tmp_path_factory.mktemp("flash") / "flash.bin", 8192)
    for offset, data in writes:
        memory.write(offset, data)
        file.write(offset, data)
    assert file.read(0, 8192) == memory.read(0, 8192)


def test_erased_flash_takes_no_disk_and_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "flash.bin"
    flash = Flash(AREAS, storage=FileStorage(path, 5 * 4096))
    flash["primary"].erase(0, 8192)
    assert path.stat().st_blocks == 0
    flash["primary"].write(0, b"kept")
    assert Flash(AREAS, storage=FileStorage(path, 5 * 4096))["primary"].read(0, 5) == b"kept\xff"
    with pytest.raises(FlashError):
        FileStorage(path, 4096)
