"""What a device keeps outside of its image slots: counters for whoever inspects it, and how far a download is."""

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lwm2m.firmware import Result, State
from softdevice.download import Progress
from softdevice.firmware_rules import Kept
from softdevice.package import Checkpoint

_LOGGER = logging.getLogger("softdevice")
_COUNTERS: Final = ("boots", "downloads", "installs", "reverts", "blocks", "restarts")
# More than the longest URI and name, however they are escaped, and a decoder's state can need.
_FILE_BYTES: Final = 4096


@dataclass(slots=True)
class Ledger:
    """Counters since the device was made; `progress` is that of the download under way, if any, and `checkpoint` where
    its package is gone on with; `kept` is what the client still knows of object 5 after a reset.

    `restarts` counts requests for block 0 of something that had already been fetched in part.
    """

    path: Path | None
    endpoint: str
    boots: int = 0
    downloads: int = 0
    installs: int = 0
    reverts: int = 0
    blocks: int = 0
    restarts: int = 0
    rebooted_mid_download: bool = False
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    kept: Kept = field(default_factory=Kept)

    @classmethod
    def load(cls, path: Path, endpoint: str) -> "Ledger":
        """Read the file; one that is missing or unreadable gives a new ledger."""
        ledger = cls(path, endpoint)
        try:
            stored: Any = json.loads(path.read_text())
            # A ledger of an older softdevice has no checkpoint and nothing kept; its counters are good all the same.
            progress, checkpoint, kept = (stored.get(name) for name in ("progress", "checkpoint", "kept"))
            ledger.progress = Progress(**progress) if progress else None
            ledger.checkpoint = Checkpoint(**checkpoint) if checkpoint else None
            if kept:
                states = {"state": State(kept["state"]), "result": Result(kept.get("result", 0))}
                ledger.kept = Kept(**{**kept, **states})
            for name in _COUNTERS:
                setattr(ledger, name, int(stored[name]))
            ledger.rebooted_mid_download = bool(stored["rebooted_mid_download"])
            ledger.endpoint = str(stored["endpoint"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _LOGGER.warning("%s cannot be read and is begun anew: %s", path.name, error, extra={"endpoint": endpoint})
            return cls(path, endpoint)
        return ledger

    def forget_download(self) -> None:
        """There is nothing to go on with any more."""
        self.progress = self.checkpoint = None
        self.save()

    def save(self) -> None:
        """Write the file with one call to the system, at one length: a killed process leaves the old or the new one.

        This happens after each block, hence no second file and no rename. Without a path nothing is written.
        """
        if self.path is None:
            return
        content = {name: getattr(self, name) for name in _COUNTERS} | {
            "endpoint": self.endpoint,
            "rebooted_mid_download": self.rebooted_mid_download,
            "progress": self.progress and asdict(self.progress),
            "checkpoint": self.checkpoint and asdict(self.checkpoint),
            "kept": asdict(self.kept),
        }
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.ftruncate(handle, os.pwrite(handle, json.dumps(content).encode().ljust(_FILE_BYTES), 0))
        finally:
            os.close(handle)
