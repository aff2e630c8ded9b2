"""Command line: `python -m softdevice fleet | run | inspect | key | image`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from mcuboot_image import DecodeError, PublicKey, VerificationError, load_public_key, parse, verify
from servicekit import logs
from servicekit.settings import load
from softdevice import images
from softdevice.coap_endpoint import Transmission
from softdevice.download import DEFAULT_PORT
from softdevice.fleet import Fleet, device_names
from softdevice.inspection import inspect_fleet
from softdevice.link import GOOD, LinkProfile, parse_link
from softdevice.options import DeviceOptions, Misbehaviour
from softdevice.settings import Settings

_EPILOG = """\
vices for --misbehave NAME=KIND (NAME may be `all`):
  never_confirms        runs a new image without confirming it, reboots after a deadline, is reverted
  loses_fifth           loses every fifth datagram it sends, and every fifth it should receive
  reboots_mid_download  resets once when half of an image is fetched, then resumes
  queue_mode            registers with Q, is deaf but for a while after each message of its own
  takes_no_deltas       says so in 26250/0/3: it is given whole images
  corrupts_deltas       flips a bit in the last block of each delta it is given

example:
  python -m softdevice key new --output key.pem
  python -m softdevice key public --key key.pem --output public.pem
  python -m softdevice image --input app.hex --version 1.0.0 --key key.pem --output app-1.0.0.bin
  python -m softdevice fleet --devices 20 --server coap://127.0.0.1:5683 --directory devices \\
      --image app-1.0.0.bin --key public.pem --misbehave softdevice-0003=never_confirms --hurry
  python -m softdevice inspect devices
"""


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
    """Run a command; 0 is success, 1 something to correct, 2 wrong usage."""
    given = _parser(load(Settings)).parse_args(arguments)
    try:
        return int(given.command(given) or 0)
    except (UsageError, images.ImageError, OSError, ValueError) as error:
        sys.stderr.write(f"softdevice: {error}\n")
        return 1


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m softdevice",
        description="Software devices with MCUboot's flash behaviour and Zephyr's LwM2M client.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fleet = commands.add_parser("fleet", help="run many devices until SIGTERM or SIGINT")
    fleet.add_argument("--devices", type=int, default=settings.devices, help="how many (%(default)s)")
    fleet.add_argument("--name-prefix", default=settings.name_prefix, help="names are this and 0001.. (%(default)s)")
    _device_options(fleet, settings)
    fleet.set_defaults(command=lambda given: _run(given, device_names(given.devices, given.name_prefix)))

    run = commands.add_parser("run", help="run a single device until SIGTERM or SIGINT")
    run.add_argument("--name", default="softdevice-0001", help="endpoint name (%(default)s)")
    _device_options(run, settings)
    run.set_defaults(command=lambda given: _run(given, (given.name,)))

    inspect = commands.add_parser("inspect", help="print what devices have in flash, as a JSON list")
    inspect.add_argument("directory", type=Path, nargs="?", default=Path(settings.directory))
    inspect.set_defaults(command=_inspect)

    key = commands.add_parser("key", help="make a P-256 key, or its public half").add_subparsers(required=True)
    new = key.add_parser("new", help="write a new private key, readable by its owner only")
    new.add_argument("--output", type=Path, required=True)
    new.set_defaults(command=_key_new)
    public = key.add_parser("public", help="write the public half of a private key")
    public.add_argument("--key", type=Path, required=True, help="private key, PEM")
    public.add_argument("--output", type=Path, help="file; standard output when left out")
    public.set_defaults(command=_key_public)

    image = commands.add_parser("image", help="make a signed MCUboot image")
    source = image.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="raw binary, or Intel HEX by its suffix .hex")
    source.add_argument("--zephyr", choices=("default", "acl_502"), help="an installed real Zephyr build")
    image.add_argument("--version", required=True, help="1.2.3 or 1.2.3+4")
    image.add_argument("--key", type=Path, required=True, help="private key, PEM")
    image.add_argument("--output", type=Path, required=True)
    image.set_defaults(command=_image)
    return parser


def _device_options(parser: argparse.ArgumentParser, settings: Settings) -> None:
    add = parser.add_argument
    add("--server", default=settings.server, help="LwM2M server (%(default)s)")
    add("--directory", type=Path, default=Path(settings.directory), help="where flash files are kept (%(default)s)")
    add("--image", type=Path, default=settings.image, help="signed image for devices that are new")
    add("--key", type=Path, action="append", default=None, help="public key, PEM; may be given more than once")
    add("--misbehave", action="append", default=[], metavar="NAME=KIND", help="see the end of `--help` without command")
    add("--hurry", action="store_true", help="short timers: confirmation deadline 8 s, reboot 0.2 s, and so on")
    add("--lifetime", type=int, default=settings.lifetime, help="registration lifetime, seconds (%(default)s)")
    add("--ack-timeout", type=float, default=settings.ack_timeout, help="CoAP ACK_TIMEOUT, seconds (%(default)s)")
    add("--report-seconds", type=float, default=None, help=f"telemetry period ({settings.report_seconds})")
    add("--patience-seconds", type=float, default=settings.patience_seconds, help="per block (%(default)s)")
    add("--confirm-deadline-seconds", type=float, default=None, help="unconfirmed image runs that long (120)")
    add("--block-size", type=int, default=settings.block_size, help="bytes asked for at a time (%(default)s)")
    add("--link", type=_link, default=GOOD, metavar="LINK", help="radio, see the end of `fleet --help` (good)")
    add("--seed", type=int, default=None, help="the same seed draws the same losses, delays and pauses")
    add("--no-deregister", action="store_true", help="leave without a word, as if switched off")
    add("--log-format", choices=("text", "json"), default=settings.log_format)
    add("--log-level", default=settings.log_level)
    parser.set_defaults(default_key=settings.key, default_report_seconds=settings.report_seconds)


def _link(text: str) -> LinkProfile:
    try:
        return parse_link(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(given: argparse.Namespace, names: tuple[str, ...]) -> None:
    if not names:
        raise UsageError("a fleet has at least one device")
    keys = _keys(given)
    fleet = Fleet(
        names,
        given.directory,
        device_options(given),
        image=_image_for(given, names, keys),
        keys=keys,
        misbehaviours=_misbehaviours(given.misbehave, names),
    )
    if given.log_format == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=given.log_level.upper(), handlers=[handler], force=True)
        logging.getLogger("asyncio").setLevel(logging.WARNING)
    else:
        logs.configure(given.log_level)
    asyncio.run(_until_signal(fleet, deregister=not given.no_deregister))


async def _until_signal(fleet: Fleet, *, deregister: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    starting = asyncio.create_task(fleet.start())
    await stop.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await fleet.stop(deregister=deregister)


def device_options(given: argparse.Namespace) -> DeviceOptions:
    """Options of every device of a command line; raises UsageError for a server that is none."""
    scheme, _, rest = given.server.rpartition("://")
    host, _, port = rest.strip("/").rpartition(":") if ":" in rest else (rest.strip("/"), "", str(DEFAULT_PORT))
    if scheme not in ("", "coap") or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--server {given.server}: write coap://host:port")
    options = DeviceOptions(
        server=(host, int(port)),
        lifetime_seconds=given.lifetime,
        transmission=Transmission(ack_timeout_seconds=given.ack_timeout),
        block_size=given.block_size,
        patience_seconds=given.patience_seconds,
        report_seconds=given.default_report_seconds,
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


def _keys(given: argparse.Namespace) -> tuple[PublicKey, ...]:
    paths = given.key or ([Path(given.default_key)] if given.default_key else [])
    if not paths:
        raise UsageError("--key is missing: the product's public key, PEM")
    return tuple(load_public_key(path.read_bytes()) for path in paths)


def _image_for(given: argparse.Namespace, names: tuple[str, ...], keys: tuple[PublicKey, ...]) -> bytes:
    if given.image is not None:
        image = Path(given.image).read_bytes()
        try:
            verify(parse(image), keys)
        except (DecodeError, VerificationError) as error:
            raise UsageError(f"--image {given.image} would not boot: {error}") from error
        return image
    if missing := [name for name in names if not (given.directory / name).is_dir()]:
        raise UsageError(f"--image is missing: {missing[0]} is new and needs one to start with")
    return b""


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
    image = images.sign(payload, given.version, images.load_key(given.key))
    given.output.write_bytes(image)
    sys.stdout.write(f"{given.output.name}: {len(image)} bytes, version {given.version}\n")


if __name__ == "__main__":
    raise SystemExit(main())
