"""Files of secrets: read once, bounded, and only when this host's other users cannot read them."""

import os
import stat
from pathlib import Path


def read_secret(path: Path, most: int, wrong: type[ValueError]) -> bytes:
    """Its bytes, at most `most`; raises `wrong` with how to mend it when it is open to others, unreadable or larger."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o007:
                raise wrong(f"{path} is open to every user of this host (mode {mode:03o}): chmod o= {path}")
            data = file.read(most + 1)
    except OSError as error:
        raise wrong(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise wrong(f"{path} is over {most} bytes")
    return data
