"""A device whose application is the C beside this folder, on the host, and whose bootloader is the model of MCUboot.

One run of the program is one run of the device; between two runs the bootloader has the flash, as on a board.
"""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import kconfig

from softdevice.boot_config import BootConfig
from softdevice.bootloader import BootOutcome, boot
from softdevice.flash import SECTOR_BYTES, Flash
from softdevice.images import SigningKey, sign

PRIMARY_SECTORS: Final = 12
SECONDARY_SECTORS: Final = PRIMARY_SECTORS + 1
SECONDS: Final = 60.0

_CORE: Final = kconfig.ZEPHYR.parent / "core"
_FLAGS: Final = ("-std=gnu17", "-g", "-Wall", "-Wextra", "-Werror")
_SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(command: Sequence[str], **options: str) -> str:
    """Standard output of a command that has to end well; its words are in the error when it does not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def compiler_options(folder: Path, *fragments: str, **more: str) -> list[str]:
    """Options for a source of the application under these Kconfig fragments; the header is written into `folder`."""
    header = folder / "autoconf.h"
    header.write_text(kconfig.autoconf(*fragments, **more))
    tests = kconfig.ZEPHYR / "tests"
    includes = (tests / "zephyr_api", tests / "board", kconfig.APPLICATION / "src", _CORE / "include")
    return [*_FLAGS, "-include", str(header), *(f"-I{path}" for path in includes)]


def compile_source(source: Path, folder: Path, options: Sequence[str]) -> Path:
    """The object of one source; the application's main gives way to the board's."""
    made = folder / f"{source.parent.name}-{source.stem}.o"
    renamed = ("-Dmain=application_main",) if source.name == "main.c" and source.parent.name != "board" else ()
    run(["gcc", *options, *_SANITIZERS, *renamed, "-c", str(source), "-o", str(made)])
    return made


def compile_all(folder: Path, *fragments: str) -> dict[Path, Path]:
    """Objects by their sources: the application, firmware/core and the board."""
    options = compiler_options(folder, *fragments)
    folders = (kconfig.APPLICATION / "src", _CORE / "src", kconfig.ZEPHYR / "tests" / "board")
    return {source: compile_source(source, folder, options) for path in folders for source in sorted(path.glob("*.c"))}


def link(objects: Iterable[Path], folder: Path) -> Path:
    """The program."""
    program = folder / "program"
    run(["gcc", *_SANITIZERS, *map(str, objects), "-o", str(program)])
    return program


def build(folder: Path, *fragments: str) -> Path:
    """The program under these Kconfig fragments."""
    return link(compile_all(folder, *fragments).values(), folder)


@dataclass
class Device:
    """One device; `unit` is the flash's write unit in bytes."""

    program: Path
    folder: Path
    key: SigningKey
    unit: int = 8

    def __post_init__(self) -> None:
        areas = (("primary", SECTOR_BYTES, PRIMARY_SECTORS), ("secondary", SECTOR_BYTES, SECONDARY_SECTORS))
        self.flash = Flash(areas, write_align=self.unit)
        self.config = BootConfig((self.key.public,), downgrade_prevention="security-counter")

    def provision(self, image: bytes) -> None:
        """The factory: an image in primary, everything else erased."""
        self.factory = image
        self.flash["primary"].write(0, image + b"\xff" * (-len(image) % self.unit))

    def enrol(self, server: str = "coap://192.0.2.1:5683", endpoint: str = "board-1") -> None:
        """What an operator types once."""
        (self.folder / "server").write_text(server)
        (self.folder / "endpoint").write_text(endpoint)

    def boot(self) -> BootOutcome:
        """The bootloader's turn."""
        return boot(self.flash, self.config)

    def live(self, *lines: str, broken: str = "nothing") -> list[str]:
        """One run of the application on a board with this part `broken`, told `lines`; what it did, line by line."""
        for area in self.flash.areas.values():
            (self.folder / f"{area.name}.bin").write_bytes(area.content())
        sizes = (str(PRIMARY_SECTORS), str(SECONDARY_SECTORS), str(self.unit))
        said = run([str(self.program), str(self.folder), *sizes, broken], input="".join(f"{line}\n" for line in lines))
        for area in self.flash.areas.values():
            self.flash.storage.write(area.base, (self.folder / f"{area.name}.bin").read_bytes())
        return said.splitlines()

    def package(self, name: str, content: bytes) -> str:
        """A package as a file the run can be told of."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def image(self, version: str, size: int = 20_000, seed: int = 1) -> bytes:
        """A signed image of about `size` bytes."""
        payload = bytes((at * at + seed * at + (at >> 8)) & 0xFF for at in range(size))
        return sign(payload, version, self.key)
