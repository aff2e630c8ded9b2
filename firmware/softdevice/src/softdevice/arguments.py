"""The command line: what may be asked for, in which words, with which defaults."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import TypeAdapter, ValidationError

from softdevice.link import GOOD, PRESETS, LinkProfile, parse_link
from softdevice.personalities import MEANINGS, Personality
from softdevice.profiles import PROFILES, UPDRAFT, Profile, parse_mix
from softdevice.settings import Settings

_MAIN: Final = """\
examples:
  a fleet with nothing kept, against any LwM2M server:
    python -m softdevice fleet --in-memory --devices 1000 --server coap://127.0.0.1:5683 \\
        --profile-mix zephyr=60,anjay=30,wakaama=10 --duration 600 --report report.json
  devices that can be updated, kept in a folder:
    python -m softdevice key new --output key.pem
    python -m softdevice key public --key key.pem --output public.pem
    python -m softdevice image --input app.hex --version 1.0.0 --key key.pem --output app-1.0.0.bin
    python -m softdevice fleet --devices 20 --server coap://127.0.0.1:5683 --directory devices \\
        --image app-1.0.0.bin --key public.pem --misbehave softdevice-0003=never_confirms --hurry
    python -m softdevice inspect devices

`python -m softdevice COMMAND --help` tells more.
"""

_DEVICES: Final = f"""\
profiles for --profile and --profile-mix:
{chr(10).join(f"  {name:<21} {profile.client}" for name, profile in PROFILES.items())}

links for --link: {", ".join(PRESETS)}
  and single values, alone or after one of these: delay, jitter (seconds one way), loss, duplication, reordering
  (0 to 1), rate (bytes/s), mtu (bytes), outage, outage_every (seconds), rebinding (seconds a NAT remembers),
  loses_every (each n-th datagram)

vices for --misbehave NAME=KIND (NAME may be `all`):
  never_confirms        runs a new image without confirming it, reboots after a deadline, is reverted
  loses_fifth           loses every fifth datagram it sends, and every fifth it should receive
  reboots_mid_download  resets once when half of an image is fetched, then resumes
  queue_mode            registers with Q, is deaf but for a while after each message of its own
  user_defers           puts each update off for as long as the server allows it (5/0/13)
  takes_no_deltas       says so in 26250/0/3: it is given whole images
  corrupts_deltas       spoils the last byte of each delta it is given
"""

_FLEET: Final = """\

exit code: 0, or 3 when --duration is over and a device is not registered, 1 for something to correct, 2 wrong usage

examples:
  python -m softdevice fleet --in-memory --devices 10000 --start-rate 200 --duration 600 --report report.json
  python -m softdevice fleet --in-memory --devices 300 --link nb-iot,loss=0.1 --seed 7 --duration 60 --report -
  python -m softdevice fleet --devices 20 --directory devices --image app.bin --key public.pem \\
      --misbehave softdevice-0003=never_confirms --misbehave all=queue_mode
"""

_RUN: Final = """\

example:
  python -m softdevice run --name shelf-7 --server coap://192.0.2.1 --directory devices --image app.bin --key public.pem
"""

_INSPECT: Final = """\
example:
  python -m softdevice inspect devices | python -m json.tool

Each device: endpoint, boots, downloads, installs, reverts, blocksFetched, restarts, downloadOffset, runningVersion,
imageSha256, confirmed, secondaryVersion, swapDue, swapping.
"""

_KEY: Final = """\
example:
  python -m softdevice key new --output key.pem
  python -m softdevice key public --key key.pem --output public.pem
"""

_IMAGE: Final = f"""\
personalities, what the image does once it runs:
{chr(10).join(f"  {name:<21} {meaning}" for name, meaning in MEANINGS.items())}

examples:
  python -m softdevice image --input app.hex --version 1.2.3+4 --key key.pem --output app.bin
  python -m softdevice image --zephyr default --version 1.0.0 --key key.pem --output base.bin
"""

_REGISTRAR: Final = """\
It takes Register, Update and De-register, and prints as JSON what it saw when SIGTERM or SIGINT ends it: how many are
registered, and how many registrations ran out.

example:
  python -m softdevice registrar --port 5683
"""


def parser(settings: Settings) -> argparse.ArgumentParser:
    """All commands; `command` of the result is the name of the one that was chosen."""
    whole = argparse.ArgumentParser(
        prog="python -m softdevice",
        description="LwM2M devices without boards, thousands in one process: MCUboot's flash, known clients' wire.",
        epilog=_MAIN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    fleet = _command(commands, "fleet", "run many devices, until SIGTERM or SIGINT or for a time", _DEVICES + _FLEET)
    add = fleet.add_argument
    add("--devices", type=_setting("devices"), default=settings.devices, help="how many (%(default)s)")
    add("--name-prefix", default=settings.name_prefix, help="names are this and 0001.. (%(default)s)")
    add("--profile-mix", type=_mix, metavar="MIX", help="weights of profiles: zephyr=60,anjay=40")
    add(
        "--start-rate",
        type=_setting("start_rate"),
        default=settings.start_rate,
        help="devices switched on per second (%(default)s)",
    )
    add(
        "--duration",
        type=_setting("report_seconds"),
        help="seconds from the last one switched on to the end; without end when left out",
    )
    add("--report", metavar="FILE", help="write a JSON report at the end; - is standard output")
    add("--progress", action=argparse.BooleanOptionalAction, help="show how it is (with --duration or --report)")
    _device_options(fleet, settings)

    run = _command(commands, "run", "run a single device until SIGTERM or SIGINT", _DEVICES + _RUN)
    run.add_argument("--name", default="softdevice-0001", help="endpoint name (%(default)s)")
    _device_options(run, settings)

    inspect = _command(commands, "inspect", "print what devices have in flash, as a JSON list", _INSPECT)
    inspect.add_argument("directory", type=Path, nargs="?", default=Path(settings.directory), help="(%(default)s)")

    registrar = _command(commands, "registrar", "run a thin LwM2M server that only keeps registrations", _REGISTRAR)
    registrar.add_argument("--host", default="127.0.0.1", help="address (%(default)s)")
    registrar.add_argument("--port", type=int, default=5683, help="UDP port (%(default)s)")

    keys = _command(commands, "key", "make a P-256 key, or its public half", _KEY).add_subparsers(required=True)
    new = _command(keys, "new", "write a new private key, readable by its owner only", _KEY, name="key new")
    new.add_argument("--output", type=Path, required=True, help="file that must not exist")
    public = _command(keys, "public", "write the public half of a private key", _KEY, name="key public")
    public.add_argument("--key", type=Path, required=True, help="private key, PEM")
    public.add_argument("--output", type=Path, help="file; standard output when left out")

    image = _command(commands, "image", "make a signed MCUboot image", _IMAGE)
    source = image.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, help="raw binary, or Intel HEX by its suffix .hex")
    source.add_argument("--zephyr", choices=("default", "acl_502"), help="an installed real Zephyr build")
    image.add_argument("--version", required=True, help="1.2.3 or 1.2.3+4")
    image.add_argument("--key", type=Path, required=True, help="private key, PEM")
    image.add_argument(
        "--personality", type=Personality, choices=tuple(Personality), default=Personality.NORMAL, help="see below"
    )
    image.add_argument("--output", type=Path, required=True, help="the signed image")
    return whole


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", word: str, does: str, epilog: str, name: str = ""
) -> argparse.ArgumentParser:
    made = commands.add_parser(
        word,
        help=does,
        description=does.capitalize() + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(command=name or word)
    return made


def _device_options(parser: argparse.ArgumentParser, settings: Settings) -> None:
    add = parser.add_argument
    add("--server", default=settings.server, help="LwM2M server (%(default)s)")
    add("--directory", type=Path, default=Path(settings.directory), help="where flash files are kept (%(default)s)")
    add("--in-memory", action="store_true", help="keep nothing; without --image a made-up one is shared by all")
    add("--image", type=Path, default=settings.image, help="signed image for devices that are new")
    add("--key", type=Path, action="append", default=None, help="public key, PEM; may be given more than once")
    add("--misbehave", action="append", default=[], metavar="NAME=KIND", help="a vice, see below")
    add("--hurry", action="store_true", help="short timers: confirmation deadline 8 s, reboot 0.2 s, and so on")
    add(
        "--lifetime",
        type=_setting("lifetime"),
        default=settings.lifetime,
        help="registration lifetime, seconds (%(default)s)",
    )
    add(
        "--ack-timeout",
        type=_setting("ack_timeout"),
        default=settings.ack_timeout,
        help="CoAP ACK_TIMEOUT, seconds (%(default)s)",
    )
    add(
        "--report-seconds",
        type=_setting("report_seconds"),
        default=None,
        help=f"telemetry period ({settings.report_seconds})",
    )
    add(
        "--patience-seconds",
        type=_setting("patience_seconds"),
        default=settings.patience_seconds,
        help="per block (%(default)s)",
    )
    add(
        "--confirm-deadline-seconds",
        type=_setting("report_seconds"),
        default=None,
        help="unconfirmed image runs that long (120)",
    )
    add(
        "--block-size",
        type=_setting("block_size"),
        default=settings.block_size,
        help="bytes asked for at a time (the profile's)",
    )
    add("--pull-proxy", default=None, help="coap://host:port of a CoAP proxy that is asked for all firmware")
    add("--profile", type=_profile, default=UPDRAFT, metavar="NAME", help="client to behave like, see below (updraft)")
    add("--link", type=_link, default=GOOD, metavar="LINK", help="radio, see below (good)")
    add("--seed", type=int, default=None, help="the same seed draws the same losses, delays and pauses")
    add("--no-deregister", action="store_true", help="leave without a word, as if switched off")
    add("--log-format", choices=("text", "json"), default=settings.log_format)
    add("--log-level", default=settings.log_level)
    parser.set_defaults(default_key=settings.key, default_report_seconds=settings.report_seconds)


def _setting(name: str) -> Callable[[str], Any]:
    """Reads an option under the rules of the setting of that name."""
    info = Settings.model_fields[name]
    kind: Any = Annotated[info.annotation, *info.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=Settings.model_config)

    def read(text: str) -> Any:
        try:
            return adapter.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error.errors()[0]['msg']}") from error

    return read


def _link(text: str) -> LinkProfile:
    try:
        return parse_link(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _profile(text: str) -> Profile:
    if text not in PROFILES:
        raise argparse.ArgumentTypeError(f"no profile is called {text}; there are {', '.join(PROFILES)}")
    return PROFILES[text]


def _mix(text: str) -> dict[str, int]:
    try:
        return parse_mix(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
