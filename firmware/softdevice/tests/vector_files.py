"""Reads the recorded vectors and lays a scenario's content onto a flash."""

import base64
import gzip
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from mcuboot_image import PublicKey, load_public_key
from softdevice.bootloader import BootAssertion, boot, swap_type
from softdevice.flash import Cut, Flash, Operation, PowerCut
from softdevice.trailer import SwapType, Trailer, TrailerError, TrailerLayout, confirm, request_upgrade
from softdevice.validation import BootConfig

FOLDER = Path(__file__).parent / "vectors"
# What the software device's bootloader does not have; its devices have neither.
UNSUPPORTED = ("hw_rollback_counter", "bootstrap", "minimal_scramble")
SWAP_WORDS = {SwapType.NONE: "none", SwapType.TEST: "test", SwapType.PERMANENT: "perm", SwapType.REVERT: "revert"}


@cache
def load(name: str) -> Any:
    with gzip.open(FOLDER / f"{name}.json.gz", "rt") as file:
        return json.load(file)


@cache
def image(name: str) -> bytes:
    entry = load("images")["images"][name]
    return base64.b64decode(entry["base64"])


@cache
def key(name: str) -> PublicKey:
    return load_public_key(load("keys")["keys"][name]["public_pem"].encode())


def scenarios(*names: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(id, scenario, config) of every scenario in swap-using-offset mode with features that exist here."""
    out = []
    for name in names:
        document = load(name)
        for scenario in document["scenarios"]:
            config = document["configs"][scenario["config"]]
            if config["mode"] == "offset" and config["images"] == 1 and not any(config[name] for name in UNSUPPORTED):
                out.append((scenario["id"], scenario, config))
    return out


def build(config: dict[str, Any]) -> tuple[Flash, BootConfig]:
    flash = Flash(
        tuple((area["name"], area["sector_size"], area["sectors"]) for area in config["areas"]),
        write_align=config["write_align"],
        erased_value=config["erased_value"],
    )
    return flash, BootConfig(
        keys=(key(config["key"]),),
        layout=TrailerLayout(config["max_align"], config["max_sectors"]),
        copy_chunk=config["copy_chunk"],
        validate_primary=config["validate_primary"],
        downgrade_prevention=config["downgrade_prevention"],
    )


def put(flash: Flash, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        area = flash[entry["area"]]
        if entry.get("erase"):
            flash.storage.write(area.base, bytes([flash.erased_value]) * area.size)
            continue
        if "image" in entry:
            data = image(entry["image"])[: entry.get("length")]
        elif "base64" in entry:
            data = base64.b64decode(entry["base64"])
        else:
            data = bytes([entry["fill"]]) * entry["length"]
        flash.storage.write(area.base + entry["offset"], data)


def line(operation: Operation) -> str:
    text = f"{operation.kind} {operation.area} {operation.offset} {operation.length}"
    return text if operation.kind == "E" else f"{text} {zlib.crc32(operation.data):08x}"


def short(recorded: str) -> str:
    """A recorded operation without its data field."""
    return " ".join(recorded.split(" ")[:5])


def crcs(flash: Flash) -> dict[str, str]:
    return {name: f"{zlib.crc32(area.content()):08x}" for name, area in flash.areas.items()}


def perform(flash: Flash, config: BootConfig, step: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Do one step; what came out in the words of the vectors, and the operations."""
    operations: list[str] = []
    flash.observer = lambda operation: operations.append(line(operation))
    result: dict[str, Any] = {}
    match step["do"]:
        case "put":
            put(flash, step["puts"])
        case "boot":
            result["swap_type_before"] = [SWAP_WORDS[swap_type(flash, config)]]
            try:
                version = boot(flash, config).version
                if version is None:
                    result["status"] = "no-bootable-image"
                else:
                    result |= {"status": "boot", "version": f"{version.major}.{version.minor}.{version.revision}"}
                    result["version"] += f"+{version.build}"
            except BootAssertion:
                result["status"] = "assert"
        case action:
            result |= {"status": "done", "rc": 0}
            try:
                if action == "request":
                    request_upgrade(Trailer(flash["secondary"], config.layout), permanent=step["permanent"])
                else:
                    confirm(Trailer(flash["primary"], config.layout))
            except TrailerError as error:
                result["rc"] = error.code
    return result, operations


def perform_cut(flash: Flash, config: BootConfig, step: dict[str, Any], cut: list[Any]) -> None:
    """Do a step with a power cut in it."""
    operation, kind, applied = cut
    flash.operations = 0
    flash.cut = Cut(operation, applied, kind == "suffix")
    try:
        perform(flash, config, step)
    except PowerCut:
        return
    finally:
        flash.cut = None
    raise AssertionError("the cut was never reached")
