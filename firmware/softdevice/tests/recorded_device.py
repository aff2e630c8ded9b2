"""A device in the words of the vectors: lays a scenario's content onto a flash and does its steps."""

import base64
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from recordings import Scenario, image, load

from mcuboot_image import PublicKey, load_public_key
from softdevice.boot_config import BootConfig, Mode
from softdevice.bootloader import BootAssertion, boot, swap_type
from softdevice.flash import Cut, Flash, Operation, PowerCut
from softdevice.trailer import SwapType, Trailer, TrailerError, confirm, request_upgrade

SWAP_WORDS = {SwapType.NONE: "none", SwapType.TEST: "test", SwapType.PERMANENT: "perm", SwapType.REVERT: "revert"}


@cache
def key(name: str) -> PublicKey:
    return load_public_key(load("keys")["keys"][name]["public_pem"].encode())


class Replay:
    """A device in the state a scenario starts from."""

    def __init__(self, scenario: Scenario) -> None:
        config = scenario.config
        self.flash = Flash(
            tuple((area["name"], area["sector_size"], area["sectors"]) for area in config["areas"]),
            write_align=config["write_align"],
            erased_value=config["erased_value"],
            counters=tuple(scenario.content.get("initial_counters", (0,) * config["images"])),
        )
        self.config = BootConfig(
            keys=(key(config["key"]),),
            mode=Mode(config["mode"]),
            images=config["images"],
            max_align=config["max_align"],
            max_sectors=config["max_sectors"],
            copy_chunk=config["copy_chunk"],
            validate_primary=config["validate_primary"],
            downgrade_prevention=config["downgrade_prevention"],
            bootstrap=config["bootstrap"],
            hw_rollback_counter=config["hw_rollback_counter"],
            minimal_scramble=config["minimal_scramble"],
        )
        self.operations: list[str] = []
        self.flash.observer = lambda operation: self.operations.append(line(operation))
        self.put(scenario.content["initial"])

    def put(self, entries: list[dict[str, Any]]) -> None:
        """Content from outside; flash rules do not apply."""
        for entry in entries:
            area = self.flash[entry["area"]]
            if entry.get("erase"):
                self.flash.storage.write(area.base, bytes([self.flash.erased_value]) * area.size)
                continue
            if "image" in entry:
                data = image(entry["image"])[: entry.get("length")]
            elif "base64" in entry:
                data = base64.b64decode(entry["base64"])
            else:
                data = bytes([entry["fill"]]) * entry["length"]
            self.flash.storage.write(area.base + entry["offset"], data)

    def trailer(self, name: str) -> Trailer:
        """The trailer of an area; that of scratch has records for one sector."""
        return Trailer(self.flash[name], self.config.layout, sectors=1 if name == "scratch" else None)

    def crcs(self) -> dict[str, str]:
        """CRC-32 of each area."""
        return {name: f"{zlib.crc32(area.content()):08x}" for name, area in self.flash.areas.items()}

    def perform(self, step: dict[str, Any]) -> dict[str, Any]:
        """Do one step; what came out of it, in the words of the vectors."""
        self.operations.clear()
        match step["do"]:
            case "put":
                self.put(step["puts"])
                return {}
            case "boot":
                return self.boot()
            case "request":
                trailer = self.trailer("secondary" + _suffix(step))
                return self.ask(lambda: request_upgrade(trailer, permanent=step["permanent"], image=step["image"]))
            case "confirm":
                trailer = self.trailer("primary" + _suffix(step))
                return self.ask(lambda: confirm(trailer))
            case unknown:
                raise AssertionError(f"no such step: {unknown}")

    def boot_again(self) -> dict[str, Any]:
        """Reset once more."""
        return self.perform({"do": "boot"})

    def boot(self) -> dict[str, Any]:
        """Reset and run the bootloader."""
        before = [SWAP_WORDS[swap_type(self.flash, self.config, number)] for number in range(self.config.images)]
        result: dict[str, Any] = {"swap_type_before": before}
        try:
            outcome = boot(self.flash, self.config)
        except BootAssertion:
            return result | {"status": "assert"}
        if outcome.version is None:
            return result | {"status": "no-bootable-image"}
        version = outcome.version
        text = f"{version.major}.{version.minor}.{version.revision}+{version.build}"
        return result | {"status": "boot", "version": text, "area": outcome.area}

    def ask(self, call: Callable[[], None]) -> dict[str, Any]:
        """What the application asks for, and the answer it gets."""
        try:
            call()
        except TrailerError as error:
            return {"status": "done", "rc": error.code}
        return {"status": "done", "rc": 0}

    def perform_cut(self, step: dict[str, Any], cut: list[Any]) -> None:
        """Do a step with a power cut in it."""
        operation, kind, applied = cut
        self.flash.operations = 0
        self.flash.cut = Cut(operation, applied, kind == "suffix")
        try:
            self.perform(step)
        except PowerCut:
            return
        finally:
            self.flash.cut = None
        raise AssertionError("the cut was never reached")

    def trailers(self) -> dict[str, Any]:
        """What the trailers of all areas say."""
        return {name: self._describe(self.trailer(name)) for name in self.flash.areas}

    def _describe(self, trailer: Trailer) -> Any:
        state, erased = trailer.read(), self.flash.erased_value
        size = trailer.swap_size()
        found: dict[str, Any] = {
            "magic": state.magic,
            "image_ok": state.image_ok,
            "copy_done": state.copy_done,
            "swap_info": state.swap_info,
            "swap_size": None if size == int.from_bytes(bytes([erased] * 4), "little") else size,
        }
        if self.config.layout.keeps_tlv_sizes:
            sizes = trailer.tlv_sizes()
            found["tlv_sizes"] = None if set(sizes) == {erased * 257} else list(sizes)
        return found if any(value not in ("unset", None) for value in found.values()) else "unset"


def _suffix(step: dict[str, Any]) -> str:
    return str(step["image"]) if step["image"] else ""


def line(operation: Operation) -> str:
    """An operation as the vectors write it, without the data field."""
    if operation.kind == "C":
        return f"C {operation.offset} {operation.length}"
    text = f"{operation.kind} {operation.area} {operation.offset} {operation.length}"
    return text if operation.kind == "E" else f"{text} {zlib.crc32(operation.data):08x}"


def short(recorded: str) -> str:
    """A recorded operation without its data field."""
    return " ".join(recorded.split(" ")[:5])


def trace(operations: list[str]) -> str:
    """CRC-32 of an operation list."""
    text = "".join(entry + "\n" for entry in operations)
    return f"{zlib.crc32(text.encode()):08x}"
