"""Puts every source folder of the house on the path of the running Python, without installing copies.

One `.pth` file in site-packages, written in a fixed order, is all an editable install of eight pure Python
packages needs; it cannot go stale and takes no build tool.
"""

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATTERNS = ("libs/*/src", "services/*/src", "firmware/*/src", "deploy/*/src")


def source_folders(root: Path = ROOT) -> tuple[Path, ...]:
    """Every `src` folder of the house that holds Python, sorted within each part."""
    found = (folder for pattern in PATTERNS for folder in sorted(root.glob(pattern)))
    return tuple(folder for folder in found if any(folder.glob("*/__init__.py")))


def main() -> None:
    """Write `updraft.pth`."""
    target = Path(sysconfig.get_paths()["purelib"]) / "updraft.pth"
    target.write_text("".join(f"{folder}\n" for folder in source_folders()))
    sys.stdout.write(f"linked {len(source_folders())} packages\n")


if __name__ == "__main__":
    main()
