"""Command line: `python -m softdevice fleet | run | registrar | inspect | key | image`."""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from mcuboot_image import DecodeError, PublicKey, VerificationError, load_public_key, parse, verify
from servicekit import logs
from servicekit.settings import load
from softdevice import images, runner
from softdevice.arguments import parser
from softdevice.coap_endpoint import Transmission
from softdevice.device import FLASH_FILE
from softdevice.download import DEFAULT_PORT
from softdevice.flash import FlashError
from softdevice.fleet import SPARE_FILES, Fleet, allow_open_files, device_names
from softdevice.inspection import inspect_fleet
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.profiles import Profile, mixed
from softdevice.registrar import Registrar
from softdevice.report import resident_bytes
from softdevice.settings import Settings

_NOT_ALL_REGISTERED: Final = 3


class UsageError(Exception):
    """Something the person at the keyboard can correct."""


class JsonFormatter(logging.Formatter):
    """One JSON object for each line: time, level, endpoint, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return json.dumps(
            {
                "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
                "level": record.levelname.lower(),
                "endpoint": getattr(record, "endpoint", None),
                "message": record.getMessage(),
            }
        )


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 is success, 1 something to correct, 2 wrong usage, 3 a device that is not registered."""
    given = parser(load(Settings)).parse_args(arguments)
    try:
        return int(_COMMANDS[given.command](given) or 0)
    except (UsageError, FlashError, OSError, ValueError) as error:
        sys.stderr.write(f"softdevice: {error}\n")
        return 1


def _fleet(given: argparse.Namespace) -> int:
    names = device_names(given.devices, given.name_prefix)
    profiles = mixed(given.profile_mix, len(names)) if given.profile_mix else ()
    shows = given.progress if given.progress is not None else bool(given.duration or given.report)
    return _run(given, names, profiles, shows=shows)


def _single(given: argparse.Namespace) -> int:
    given.duration, given.report, given.start_rate = None, None, 1.0
    return _run(given, (given.name,), (), shows=False)


def _run(given: argparse.Namespace, names: tuple[str, ...], profiles: tuple[Profile, ...], *, shows: bool) -> int:
    if given.log_format == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=given.log_level.upper(), handlers=[handler], force=True)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
    else:
        logs.configure(given.log_level)
    if (allowed := allow_open_files(len(names) + SPARE_FILES)) < len(names) + SPARE_FILES:
        raise UsageError(
            f"{len(names)} devices need {len(names) + SPARE_FILES} open files and the system allows {allowed}: "
            "raise its hard limit (ulimit -Hn) or ask for fewer devices"
        )
    image, keys = _image_and_keys(given, names)
    before = resident_bytes()
    # Opened first: a file that cannot be written is told before the fleet has run, not after.
    with _report_file(given.report) as report_to:
        fleet = Fleet(
            names,
            None if given.in_memory else given.directory,
            device_options(given),
            image=image,
            keys=keys,
            misbehaviours=_misbehaviours(given.misbehave, names),
            profiles=profiles,
            stagger_seconds=1 / given.start_rate,
        )
        report, in_full = asyncio.run(
            runner.run(
                fleet,
                resident_before=before,
                seconds=given.duration,
                shows=shows,
                deregister=not given.no_deregister,
                report_to=report_to,
            )
        )
    return _NOT_ALL_REGISTERED if in_full and report["registered"] < len(names) else 0


def _report_file(report: str | None) -> contextlib.AbstractContextManager[TextIO | None]:
    if report is None or report == "-":
        return contextlib.nullcontext(sys.stdout if report else None)
    return Path(report).open("w")


def _registrar(given: argparse.Namespace) -> None:
    runner.write_report(asyncio.run(_registrar_until_signal(given.host, given.port)), sys.stdout)


async def _registrar_until_signal(host: str, port: int) -> dict[str, int]:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = Registrar()
    await server.open((host, port))
    sys.stderr.write(f"listening on {host}:{server.port}\n")
    await stop.wait()
    server.close()
    return server.report()


def device_options(given: argparse.Namespace) -> DeviceOptions:
    """Options of every device of a command line; raises UsageError for a server that is none."""
    options = DeviceOptions(
        server=_address("--server", given.server),
        lifetime_seconds=given.lifetime,
        transmission=Transmission(ack_timeout_seconds=given.ack_timeout),
        block_size=given.block_size,
        pull_proxy=_address("--pull-proxy", given.pull_proxy) if given.pull_proxy else None,
        patience_seconds=given.patience_seconds,
        report_seconds=given.default_report_seconds,
        profile=given.profile,
        link=given.link,
        seed=given.seed,
        deregisters=not given.no_deregister,
    )
    options = options.hurried() if given.hurry else options
    if given.report_seconds is not None:
        options = replace(options, report_seconds=given.report_seconds)
    if given.confirm_deadline_seconds is not None:
        options = replace(options, confirm_deadline_seconds=given.confirm_deadline_seconds)
    return options


def _address(option: str, text: str) -> tuple[str, int]:
    """Host and port of a CoAP URI; raises UsageError."""
    scheme, _, rest = text.rpartition("://")
    host, _, port = rest.strip("/").rpartition(":") if ":" in rest else (rest.strip("/"), "", str(DEFAULT_PORT))
    if scheme not in ("", "coap") or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{option} {text}: write coap://host:port")
    return host, int(port)


def _image_and_keys(given: argparse.Namespace, names: tuple[str, ...]) -> tuple[bytes, tuple[PublicKey, ...]]:
    paths = given.key or ([Path(given.default_key)] if given.default_key else [])
    if given.in_memory and given.image is None and not paths:
        key = images.new_key()
        return images.small_image(key, "1.0.0"), (key.public,)
    if not paths:
        raise UsageError("--key is missing: the product's public key, PEM")
    keys = tuple(load_public_key(path.read_bytes()) for path in paths)
    if given.image is not None:
        image = Path(given.image).read_bytes()
        try:
            verify(parse(image), keys)
        except (DecodeError, VerificationError) as error:
            raise UsageError(f"--image {given.image} would not boot: {error}") from error
        return image, keys
    if given.in_memory:
        raise UsageError("--image is missing: devices in memory are new and need one to start with")
    if missing := [name for name in names if not (given.directory / name / FLASH_FILE).exists()]:
        raise UsageError(f"--image is missing: {missing[0]} is new and needs one to start with")
    return b"", keys


def _misbehaviours(entries: list[str], names: tuple[str, ...]) -> dict[str, frozenset[Misbehaviour]]:
    found: dict[str, frozenset[Misbehaviour]] = {}
    for entry in entries:
        name, _, kind = entry.partition("=")
        if kind not in Misbehaviour._value2member_map_:
            raise UsageError(f"--misbehave {entry}: kinds are {', '.join(Misbehaviour)}")
        for target in names if name == "all" else (name,):
            found[target] = found.get(target, frozenset()) | {Misbehaviour(kind)}
    return found


def _inspect(given: argparse.Namespace) -> None:
    json.dump(inspect_fleet(given.directory), sys.stdout, indent=2)
    sys.stdout.write("\n")


def _key_new(given: argparse.Namespace) -> None:
    key = images.new_key()
    handle = os.open(given.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(key.private_pem)
    sys.stdout.write(f"{key.public.algorithm} {key.public.fingerprint}\n")


def _key_public(given: argparse.Namespace) -> None:
    pem = images.load_key(given.key).public_pem
    if given.output is None:
        sys.stdout.write(pem.decode())
    else:
        given.output.write_bytes(pem)


def _image(given: argparse.Namespace) -> None:
    package = dict(zip(("default", "acl_502"), images.ZEPHYR_PACKAGES, strict=True)).get(given.zephyr)
    payload = images.zephyr_payload(package) if package else images.read_payload(given.input)
    image = images.sign(payload, given.version, images.load_key(given.key), personality=given.personality)
    given.output.write_bytes(image)
    sys.stdout.write(f"{given.output.name}: {len(image)} bytes, version {given.version}\n")


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int | None]]] = {
    "fleet": _fleet,
    "run": _single,
    "registrar": _registrar,
    "inspect": _inspect,
    "key new": _key_new,
    "key public": _key_public,
    "image": _image,
}


if __name__ == "__main__":
    raise SystemExit(main())
