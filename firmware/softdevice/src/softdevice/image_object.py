"""Object 26250, "Updraft Image": what a device says of the image it runs, beyond what object 3 and 5 can say.

A server needs the hash of the running image to choose a delta, and the formats the device can decode. The rest answers
an operator's questions after an update: is it confirmed, how did it get here, what does it say of itself. The number
is from the private range of the OMA registry (26241 to 32768); docs/contracts.md lists the resources.
"""

from typing import Final

from lwm2m.paths import Path
from softdevice.board import Board
from softdevice.resources import IMAGE, ResourceValue
from softdevice.trailer import SwapType

CONFIRMED: Final = Path(IMAGE, 0, 1)
_SWAPS: Final = {SwapType.TEST: 1, SwapType.PERMANENT: 2, SwapType.REVERT: 3}


def image_values(board: Board, *, boots: int, delta_formats: int, application: str) -> dict[Path, ResourceValue]:
    """Values of one boot by resource; without the hash when primary holds no well-formed image."""
    running = board.running
    values: dict[int, ResourceValue] = {0: running.sha256} if running else {}
    values |= {
        1: board.confirmed,
        2: boots,
        3: delta_formats,
        4: _SWAPS.get(board.last_swap, 0),
        5: application,
    }
    return {Path(IMAGE, 0, number): value for number, value in values.items()}
