"""Reads what devices have in flash while they are off, from their files alone."""

from pathlib import Path
from typing import Any

from softdevice.board import Board
from softdevice.device import FLASH_FILE, LEDGER_FILE
from softdevice.flash import SECTOR_BYTES, FlashError
from softdevice.ledger import Ledger
from softdevice.trailer import SwapType

_SWAP_WORDS = {SwapType.NONE: None, SwapType.TEST: "test", SwapType.PERMANENT: "permanent", SwapType.REVERT: "revert"}


def inspect_device(folder: Path) -> dict[str, Any]:
    """One device as JSON values; `error` is there instead of slots when its flash file is no flash."""
    ledger = Ledger.load(folder / LEDGER_FILE, folder.name)
    found: dict[str, Any] = {
        "endpoint": ledger.endpoint,
        "boots": ledger.boots,
        "downloads": ledger.downloads,
        "installs": ledger.installs,
        "reverts": ledger.reverts,
        "blocksFetched": ledger.blocks,
        "restarts": ledger.restarts,
        "downloadOffset": ledger.progress.offset if ledger.progress else None,
    }
    flash = folder / FLASH_FILE
    sectors, odd = divmod(flash.stat().st_size, 2 * SECTOR_BYTES)
    if odd or not sectors:
        return found | {"error": f"{FLASH_FILE} is not two slots of whole sectors"}
    try:
        slots = Board.on_file(flash, (), sectors=sectors).contents()
    except FlashError as error:
        return found | {"error": str(error)}
    return found | {
        "runningVersion": str(slots.running) if slots.running else None,
        "imageSha256": slots.image_sha256,
        "confirmed": slots.confirmed,
        "secondaryVersion": str(slots.secondary) if slots.secondary else None,
        "swapDue": _SWAP_WORDS[slots.swap_due],
        "swapping": slots.swapping,
    }


def inspect_fleet(directory: Path) -> list[dict[str, Any]]:
    """Every device in a folder, by name; raises FileNotFoundError when there is no such folder."""
    return [inspect_device(folder) for folder in sorted(directory.iterdir()) if (folder / FLASH_FILE).is_file()]
