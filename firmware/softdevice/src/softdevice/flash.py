"""NOR flash with its rules: erase whole sectors, write whole units once, and lose power at any operation.

A write must be aligned to the write unit and may touch erased units only (no bit is programmed twice); an erase covers
whole sectors. Every write and erase counts as one operation, is told to `observer`, and may be the one during which
the power goes: `cut` names it by number. A torn write leaves a prefix of its units, a torn erase a prefix or suffix of
its bytes; a single unit is never torn. This is the model the recorded vectors of MCUboot's bootutil use. Boards with
hardware rollback protection keep a counter per image beside the flash; setting one is an operation like the others.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

SECTOR_BYTES: Final = 4096
ERASED: Final = 0xFF
_INVERT: Final = bytes(byte ^ 0xFF for byte in range(256))


class FlashError(Exception):
    """The caller broke a rule of the flash: alignment, bounds, or a write to a unit that is not erased."""


class PowerCut(BaseException):
    """The power went; whoever runs on this flash stops here. Not an Exception, so that nobody handles it."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Power goes at operation `operation` (counted from 1) after `applied` bytes of it; `suffix` tears an erase at its
    other end."""

    operation: int
    applied: int = 0
    suffix: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """What was done: `kind` is `W` write, `E` erase, `R` rejected write; offsets and lengths in bytes. `C` is a counter
    set: `offset` is then the image and `length` the value, `area` is empty."""

    kind: str
    area: str
    offset: int
    length: int
    data: bytes = b""


class Storage(Protocol):
    """Where the bytes are; knows no rules."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`."""

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes at `offset`."""


class MemoryStorage:
    """Flash content in memory, erased at first."""

    def __init__(self, size: int, erased_value: int = ERASED) -> None:
        self.content = bytearray([erased_value]) * size

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`."""
        return bytes(self.content[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes at `offset`."""
        self.content[offset : offset + len(data)] = data


class FileStorage:
    """Flash content in a file, every byte stored inverted: erased flash is zeros, which a sparse file does not hold.

    A fleet of thousands would otherwise need a megabyte of disk each; and the file is opened for each access, because
    a process has fewer file descriptors than that.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(size)
        if path.stat().st_size != size:
            raise FlashError(
                f"{path} has {path.stat().st_size} bytes, a flash of {size} was expected; "
                "remove it to have the device made anew"
            )

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            return os.pread(handle, length, offset).translate(_INVERT)
        finally:
            os.close(handle)

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes at `offset`; what is there already is not written, so that holes stay holes."""
        inverted = data.translate(_INVERT)
        handle = os.open(self.path, os.O_RDWR)
        try:
            if os.pread(handle, len(data), offset) != inverted:
                os.pwrite(handle, inverted, offset)
        finally:
            os.close(handle)


class Area:
    """A named part of the flash with uniform sectors; offsets are relative to it."""

    def __init__(self, flash: "Flash", name: str, base: int, sector_size: int, sectors: int) -> None:
        self.flash = flash
        self.name = name
        self.base = base
        self.sector_size = sector_size
        self.sectors = sectors
        self.size = sector_size * sectors

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`; raises FlashError outside of the area."""
        self._inside(offset, length)
        return self.flash.storage.read(self.base + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Program erased units; raises FlashError for a broken rule, PowerCut when the power goes."""
        self._inside(offset, len(data))
        unit = self.flash.write_align
        if offset % unit or len(data) % unit:
            raise FlashError(f"a write of {len(data)} bytes at {offset} of {self.name} is not aligned to {unit}")
        self.flash.program(self, offset, data)

    def erase(self, offset: int, length: int) -> None:
        """Erase whole sectors; raises FlashError for a broken rule, PowerCut when the power goes."""
        self._inside(offset, length)
        if offset % self.sector_size or length % self.sector_size or not length:
            raise FlashError(f"an erase of {length} bytes at {offset} of {self.name} does not cover whole sectors")
        self.flash.erase(self, offset, length)

    def is_erased(self, data: bytes) -> bool:
        """Whether these bytes look like erased flash."""
        return data.count(self.flash.erased_value) == len(data)

    def content(self) -> bytes:
        """The whole area."""
        return self.flash.storage.read(self.base, self.size)

    def _inside(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FlashError(f"{length} bytes at {offset} reach outside of {self.name} ({self.size} bytes)")


class Flash:
    """All areas on one storage, in order; `areas` are (name, sector size in bytes, number of sectors).

    `counters` are the values of the hardware rollback counters, one per image. `power_lost` is told
    when the power goes.
    """

    def __init__(
        self,
        areas: tuple[tuple[str, int, int], ...],
        *,
        write_align: int = 4,
        erased_value: int = ERASED,
        storage: Storage | None = None,
        counters: tuple[int, ...] = (),
    ) -> None:
        self.counters = list(counters)
        self.write_align = write_align
        self.erased_value = erased_value
        self.areas: dict[str, Area] = {}
        base = 0
        for name, sector_size, sectors in areas:
            self.areas[name] = Area(self, name, base, sector_size, sectors)
            base += sector_size * sectors
        self.size = base
        self.storage: Storage = storage or MemoryStorage(base, erased_value)
        self.operations = 0
        self.cut: Cut | None = None
        self.power_lost: Callable[[], None] | None = None
        self.observer: Callable[[Operation], None] | None = None

    def __getitem__(self, name: str) -> Area:
        return self.areas[name]

    def program(self, area: Area, offset: int, data: bytes) -> None:
        """One write operation; use `Area.write`, which checks alignment."""
        at = area.base + offset
        if not area.is_erased(self.storage.read(at, len(data))):
            self._tell("R", area, offset, len(data), data)
            raise FlashError(f"a write of {len(data)} bytes at {offset} of {area.name} hits units that are not erased")
        cut = self._next_operation()
        if cut is not None:
            self.storage.write(at, data[: cut.applied])
            raise PowerCut
        self.storage.write(at, data)
        self._tell("W", area, offset, len(data), data)

    def erase(self, area: Area, offset: int, length: int) -> None:
        """One erase operation; use `Area.erase`, which checks alignment."""
        at, blank = area.base + offset, bytes([self.erased_value])
        cut = self._next_operation()
        if cut is not None:
            start = at + length - cut.applied if cut.suffix else at
            self.storage.write(start, blank * cut.applied)
            raise PowerCut
        self.storage.write(at, blank * length)
        self._tell("E", area, offset, length, b"")

    def set_counter(self, image: int, value: int) -> None:
        """One operation: the hardware counter of `image` becomes `value`; raises PowerCut when the power goes."""
        cut = self._next_operation()
        if cut is None or cut.applied:
            self.counters[image] = value
        if cut is not None:
            raise PowerCut
        if self.observer is not None:
            self.observer(Operation("C", "", image, value))

    def _next_operation(self) -> Cut | None:
        self.operations += 1
        cut = self.cut
        if cut is None or self.operations != cut.operation:
            return None
        if self.power_lost is not None:
            self.power_lost()
        return cut

    def _tell(self, kind: str, area: Area, offset: int, length: int, data: bytes) -> None:
        if self.observer is not None:
            self.observer(Operation(kind, area.name, offset, length, data))
