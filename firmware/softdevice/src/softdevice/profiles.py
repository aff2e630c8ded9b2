"""How known LwM2M clients behave on the wire, as data: one row for each client, and code asks the row, never its name.

What differs between clients is what they say when they register, which content formats they answer in and take, how
they fetch an image or have it pushed, and what they still know after a reset. Facts were read in the sources of Zephyr
(subsys/net/lib/lwm2m), dm-lwm2m (2019), Anjay (src/core/servers, src/modules/fw_update) and Wakaama, or measured.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from coap_wire import Code
from lwm2m.firmware import PUSH_ONLY, State


class Memory(StrEnum):
    """What of State and Result a client still knows after a reset."""

    NOTHING = "nothing"  # Zephyr: both live in RAM
    ALL = "all"  # Anjay: the application restores them
    RECORD = "record"  # Updraft's application: the Result, and the hash of the image that is being installed
    COUNTERS = "counters"  # dm-lwm2m: two numbers in flash, compared at each boot


@dataclass(frozen=True, slots=True)
class Profile:
    """One client. Formats are content format numbers, codes CoAP codes, sizes bytes, times seconds.

    Registration: `versions` of the enabler are offered in order, the next one after 4.12; `query` names the parameters
    of Register in their order (`b` is left out when it says only U); `root` is the first link; `object_versions` are
    said as `</1>;ver=1.1`. `fixed_location`: takes exactly two Location-Path options and replaces the first by rd.
    An Update goes out `early` seconds before the lifetime ends, and repeats lt when `update_says_lifetime`. In queue
    mode the client listens for `awake_seconds` after each message of its own.

    Reading and writing: `single` and `several` are the formats nobody asked for; `reads` and `writes` those it knows;
    `stubborn` are asked in vain and answered in `several`; any other gets the code `not_acceptable`.

    Object 5: `firmware_resources` are the optional ones it has, `delivery` is 5/0/9, `block_size` what it asks for and
    takes at a time; `keeps_query` is whether the query of a Package URI is asked for. A block that is pushed and too
    large is answered 4.13 with the size it wants, or, if it `shrinks_blocks`, taken and answered with a smaller one.
    `push_by_token`: a pushed block with another token belongs to nothing. A URI outside of Idle is answered `busy_uri`;
    None keeps it and does nothing. An empty one resets in the States of `empty_uri_resets`, and does nothing in others.
    """

    name: str
    client: str
    versions: tuple[str, ...]
    query: tuple[str, ...] = ("lwm2m", "ep", "lt", "b", "Q")
    says_u: bool = False
    root: str = ""
    objects: tuple[int, ...] = (1, 3, 4, 5)
    object_versions: tuple[tuple[int, str], ...] = ()
    fixed_location: bool = False
    early: float = 6.0
    update_says_lifetime: bool = False
    queue_mode: bool = False
    awake_seconds: float = 20.0
    registers_on_wake: bool = False
    single: int = 0
    several: int = 11542
    reads: tuple[int, ...] = (0, 11542)
    writes: tuple[int, ...] = (0, 42, 11542)
    stubborn: tuple[int, ...] = ()
    not_acceptable: int = Code.NOT_ACCEPTABLE
    confirmable: bool = True
    firmware_resources: tuple[int, ...] = (8,)
    delivery: int = 2
    block_size: int = 256
    asks_size: bool = True
    proxy_paths: bool = True
    keeps_query: bool = False
    resumes: bool = False
    shrinks_blocks: bool = False
    push_by_token: bool = False
    busy_uri: int | None = None
    empty_uri_resets: tuple[State, ...] = (State.DOWNLOADED,)
    bad_scheme: int | None = None
    not_downloaded: int = Code.METHOD_NOT_ALLOWED
    memory: Memory = Memory.NOTHING
    confirms_early: bool = False
    build_form: str = "{0}+{1}"
    manufacturer: str = "Zephyr"


UPDRAFT: Final = Profile(
    name="updraft",
    client="Updraft's application on Zephyr 4",
    versions=("1.1",),
    says_u=True,
    root='</>;rt="oma.lwm2m";ct="60 110 112 11542"',
    objects=(1, 3, 4, 5, 26250),
    reads=(0, 60, 110, 112, 11542),
    writes=(0, 42, 60, 110, 112, 11542, 11543, 1541, 1542, 1543, 1544),
    firmware_resources=(6, 7, 8, 10, 11, 12, 13),
    block_size=512,
    resumes=True,
    memory=Memory.RECORD,
    manufacturer="Updraft",
)

# flownexus' build, the typical one of today: SenML CBOR and CBOR, no TLV.
ZEPHYR: Final = Profile(
    name="zephyr",
    client="Zephyr 4.x, LwM2M 1.1, SenML CBOR",
    versions=("1.1",),
    root="</>;ct=112",
    object_versions=((1, "1.1"), (3, "1.1")),
    fixed_location=True,
    single=112,
    several=112,
    reads=(0, 60, 112),
    writes=(0, 42, 60, 112),
    firmware_resources=(8, 10),
    block_size=512,
)

ZEPHYR_OLD: Final = Profile(
    name="zephyr-old",
    client="Zephyr 2.x and 3.x, LwM2M 1.0, TLV and JSON",
    versions=("1.0",),
    root='</>;rt="oma.lwm2m";ct=11543',
    fixed_location=True,
    single=11542,
    reads=(0, 11542, 1542, 11543),
    writes=(0, 42, 1541, 1542, 1544, 11542, 11543),
    push_by_token=True,
    empty_uri_resets=(State.IDLE, State.DOWNLOADED),
)

PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        UPDRAFT,
        ZEPHYR,
        # With DTLS and no session cache Zephyr comes back from sleep with a Register.
        replace(
            ZEPHYR,
            name="zephyr-queue",
            client="Zephyr 4.x in queue mode, registers anew when it wakes",
            queue_mode=True,
            registers_on_wake=True,
            awake_seconds=30.0,
        ),
        ZEPHYR_OLD,
        replace(
            ZEPHYR_OLD,
            name="dm-lwm2m",
            client="dm-lwm2m of 2019 on Zephyr 1.14",
            objects=(1, 3, 5, 3303),
            update_says_lifetime=True,
            memory=Memory.COUNTERS,
            confirms_early=True,
            build_form="{0} build #{1}",
        ),
        Profile(
            name="anjay",
            client="Anjay 3.x",
            versions=("1.2", "1.1", "1.0"),
            object_versions=((1, "1.1"),),
            early=93.0,
            several=112,
            reads=(0, 42, 60, 110, 112, 11542, 11543),
            writes=(0, 42, 60, 110, 112, 11542),
            confirmable=False,
            firmware_resources=(6, 7, 8, 10, 11, 12, 13),
            block_size=1024,
            asks_size=False,
            proxy_paths=False,
            keeps_query=True,
            resumes=True,
            shrinks_blocks=True,
            busy_uri=Code.BAD_REQUEST,
            empty_uri_resets=(State.IDLE, State.DOWNLOADING, State.DOWNLOADED),
            bad_scheme=Code.BAD_REQUEST,
            memory=Memory.ALL,
            manufacturer="AVSystem",
        ),
        Profile(
            name="wakaama",
            client="Wakaama's example client, with an image behind its object 5",
            versions=("1.0",),
            query=("lwm2m", "ep", "b", "lt", "Q"),
            says_u=True,
            root='</>;rt="oma.lwm2m"',
            early=93.0,
            single=11542,
            reads=(0, 11542),
            writes=(0, 42, 11542),
            stubborn=(110, 112),
            not_acceptable=Code.INTERNAL_SERVER_ERROR,
            confirmable=False,
            firmware_resources=(6, 7, 8),
            delivery=PUSH_ONLY,
            block_size=1024,
            asks_size=False,
            proxy_paths=False,
            shrinks_blocks=True,
            empty_uri_resets=(),
            not_downloaded=Code.BAD_REQUEST,
            manufacturer="Open Mobile Alliance",
        ),
    )
}


def mixed(mix: dict[str, int], count: int) -> tuple[Profile, ...]:
    """Profiles of `count` devices in the proportions of `mix` (weights by name), spread evenly over the devices.

    Raises ValueError for a name that is none, or weights that are not above zero.
    """
    if unknown := sorted(set(mix) - set(PROFILES)):
        raise ValueError(f"no profile is called {', '.join(unknown)}; there are {', '.join(PROFILES)}")
    if not mix or min(mix.values()) <= 0:
        raise ValueError("a mix has weights above zero: zephyr=60,anjay=40")
    total = sum(mix.values())
    given = dict.fromkeys(mix, 0)
    chosen = []
    for number in range(1, count + 1):
        # Whoever is furthest behind its share is next.
        name = max(mix, key=lambda one: mix[one] * number / total - given[one])
        given[name] += 1
        chosen.append(PROFILES[name])
    return tuple(chosen)


def parse_mix(text: str) -> dict[str, int]:
    """`zephyr=60,anjay=40` as weights by name; raises ValueError."""
    mix: dict[str, int] = {}
    for entry in text.split(","):
        name, _, weight = entry.strip().partition("=")
        if not (weight.isascii() and weight.isdigit() and len(weight) <= 6):
            raise ValueError(f"{entry!r} is no NAME=WEIGHT")
        mix[name] = mix.get(name, 0) + int(weight)
    return mix


def spelled(profile: Profile, version: str) -> str:
    """An image's version (`1.2.3` or `1.2.3+4`) as the client shows it in 3/0/3."""
    release, _, build = version.partition("+")
    return profile.build_form.format(release, build or "0") if build or profile.build_form != "{0}+{1}" else release
