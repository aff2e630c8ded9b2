"""Flash content in memory on top of an image all devices share: a device holds only the sectors it has changed."""

from softdevice.flash import ERASED, SECTOR_BYTES

_BLANK = bytes([ERASED]) * SECTOR_BYTES


class OverlayStorage:
    """`size` bytes that begin with `base` and are erased behind it; sector by sector copied when written to.

    A write of what is there already copies nothing, and a sector that is erased again costs nothing.
    """

    __slots__ = ("_base", "_sectors", "size")

    def __init__(self, size: int, base: bytes) -> None:
        self.size = size
        self._base = base
        self._sectors: dict[int, bytearray | None] = {}

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from `offset`."""
        first, last = offset // SECTOR_BYTES, (offset + length - 1) // SECTOR_BYTES
        if not any(number in self._sectors for number in range(first, last + 1)):
            data = self._base[offset : offset + length]
            return data if len(data) == length else data + bytes([ERASED]) * (length - len(data))
        content = b"".join(self._sector(number) for number in range(first, last + 1))
        start = offset - first * SECTOR_BYTES
        return content[start : start + length]

    def write(self, offset: int, data: bytes) -> None:
        """Replace bytes at `offset`."""
        if self.read(offset, len(data)) == data:
            return
        at = 0
        while at < len(data):
            number, within = divmod(offset + at, SECTOR_BYTES)
            piece = data[at : at + SECTOR_BYTES - within]
            at += len(piece)
            sector = bytearray(self._sector(number))
            sector[within : within + len(piece)] = piece
            # None is an erased sector: most of an erased slot is never written again.
            self._sectors[number] = None if sector == _BLANK else sector

    @property
    def held_bytes(self) -> int:
        """What this device holds for itself."""
        return sum(len(sector) for sector in self._sectors.values() if sector is not None)

    def _sector(self, number: int) -> bytes | bytearray:
        if number in self._sectors:
            changed = self._sectors[number]
            return _BLANK if changed is None else changed
        return self._base[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES].ljust(SECTOR_BYTES, bytes([ERASED]))
