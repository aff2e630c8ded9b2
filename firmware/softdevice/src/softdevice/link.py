"""The radio between a device and its server, decided from a seed: what is lost, late, doubled, overtaken, or cut off.

A datagram that enters the link is turned into the delays after which copies of it come out at the far end; no copy
means that it was lost. In the order a real one meets them:

  outage       nothing passes, in either direction, while one lasts
  MTU          a larger datagram is lost: constrained links do not fragment well, and many NATs drop fragments
  rate         datagrams of one direction queue behind each other; one that would wait too long is dropped
  loss         lost with a probability, or every n-th one
  delay        a fixed part and a random part
  reordering   held back, so that later ones overtake it
  duplication  arrives twice
  rebinding    a NAT forgets an idle mapping: what arrives is lost until the device speaks, from another port

Everything is drawn from one generator per link: the same seed and the same traffic give the same run.
"""

import random
from dataclasses import dataclass, fields, replace
from typing import Final

# IP and UDP headers; they take their time on a slow link, too.
HEADER_BYTES: Final = 28
# A modem's buffer: what would wait longer than this for its turn is dropped.
MAX_QUEUE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """How a link behaves; all zero is a perfect one.

    `delay` and `jitter` (uniform, on top) are seconds one way; `loss`, `duplication` and `reordering` are
    probabilities of one datagram; `loses_every` loses each n-th datagram of a direction; `rate` is bytes per second and
    direction; `mtu` bytes of UDP payload and headers; an outage of `outage` seconds comes in every `outage_every`
    seconds, at a place in each period that the seed decides; `rebinding` is how many seconds of silence a NAT mapping
    survives. 0 switches a thing off.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    rate: float = 0.0
    mtu: int = 0
    outage: float = 0.0
    outage_every: float = 0.0
    rebinding: float = 0.0
    loses_every: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 1e9:
                raise ValueError(f"{field.name} of a link is a number from 0 on")
        for name in ("loss", "duplication", "reordering"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is a probability, 0 to 1")
        if self.outage and self.outage_every <= self.outage:
            raise ValueError("outages need outage_every, which is longer than outage")


GOOD: Final = LinkProfile()
# Orders of magnitude from field reports, not measurements of one network: round trips of LTE-M 100 ms, of NB-IoT one to
# several seconds at some 20 kbit/s, of a geostationary satellite 600 ms, of a 6LoWPAN mesh some hops with losses.
PRESETS: Final[dict[str, LinkProfile]] = {
    "good": GOOD,
    "wifi": LinkProfile(delay=0.005, jitter=0.02, loss=0.005, duplication=0.001),
    "lte-m": LinkProfile(delay=0.05, jitter=0.1, loss=0.005, rate=40_000, mtu=1358, rebinding=180),
    "nb-iot": LinkProfile(delay=0.6, jitter=1.2, loss=0.02, rate=2_500, mtu=1358, rebinding=120),
    "lossy-6lowpan": LinkProfile(
        delay=0.04, jitter=0.2, loss=0.15, duplication=0.03, reordering=0.05, rate=6_000, mtu=1280
    ),
    "satellite": LinkProfile(delay=0.3, jitter=0.05, loss=0.01, rate=8_000, mtu=1400, outage=40, outage_every=1800),
    "flaky": LinkProfile(delay=0.1, jitter=0.3, loss=0.1, outage=60, outage_every=900, rebinding=60),
}


def parse_link(text: str) -> LinkProfile:
    """`nb-iot`, `loss=0.1,delay=0.5` or `nb-iot,loss=0.1`: a preset, single values, or a preset with values changed.

    Raises ValueError with what is allowed.
    """
    profile = GOOD
    kinds = {field.name: int if field.type is int else float for field in fields(LinkProfile)}
    changes: dict[str, float] = {}
    for number, part in enumerate(text.split(",")):
        name, equals, value = part.partition("=")
        if not equals and number == 0 and name in PRESETS:
            profile = PRESETS[name]
        elif equals and name in kinds:
            try:
                changes[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"{value!r} is no value for {name} of a link") from None
        else:
            raise ValueError(f"{part!r} is no link: write {', '.join(PRESETS)}, or {', '.join(kinds)} as NAME=NUMBER")
    return replace(profile, **changes)  # type: ignore[arg-type]  # the kinds are those of the fields


class Link:
    """Both directions of one device's link; times are seconds of the caller's clock.

    A device in queue mode switches its receiver off `awake` seconds after it has sent something; None never does.
    """

    __slots__ = ("_awake", "_count", "_dice", "_free_at", "_last_out", "_profile", "_seed")

    def __init__(self, profile: LinkProfile = GOOD, seed: str = "", *, awake: float | None = None) -> None:
        self._profile = profile
        self._seed = seed
        self._awake = awake
        # A perfect link needs no dice, and a fleet saves 2.5 KB for each device.
        self._dice = None if profile == GOOD else random.Random(f"{seed} link")
        # Out and in: each direction counts and queues for itself. Counted together, question and answer would fall
        # into step, and soon only questions be lost.
        self._count = [0, 0]
        self._free_at = [0.0, 0.0]
        self._last_out: float | None = None

    def sent(self, size: int, now: float) -> tuple[float, ...]:
        """Delays in seconds after which copies of a datagram of `size` bytes that the device sends leave the link."""
        self._last_out = now
        return self._pass_on(0, size, now)

    def arrived(self, size: int, now: float) -> tuple[float, ...]:
        """Delays after which copies of a datagram for the device reach it."""
        return () if self.is_unbound(now) else self._pass_on(1, size, now)

    def hears(self, now: float) -> bool:
        """Whether the device's receiver is on."""
        return self._awake is None or self._last_out is None or now - self._last_out <= self._awake

    def is_unbound(self, now: float) -> bool:
        """Whether the NAT has forgotten the device: the next datagram it sends comes from another port."""
        idle = self._profile.rebinding
        return bool(idle) and self._last_out is not None and now - self._last_out > idle

    def is_out(self, now: float) -> bool:
        """Whether an outage lasts."""
        profile = self._profile
        if not profile.outage:
            return False
        period, within = divmod(now, profile.outage_every)
        begin = random.Random(f"{self._seed} outage {period}").random() * (profile.outage_every - profile.outage)
        return begin <= within < begin + profile.outage

    def _pass_on(self, way: int, size: int, now: float) -> tuple[float, ...]:
        profile, dice = self._profile, self._dice
        if dice is None:
            return (0.0,)
        self._count[way] += 1
        size += HEADER_BYTES
        if self.is_out(now) or (profile.mtu and size > profile.mtu):
            return ()
        waits = 0.0
        if profile.rate:
            # One that is lost later has taken its time on the line all the same.
            start = max(now, self._free_at[way])
            if start - now > MAX_QUEUE_SECONDS:
                return ()
            self._free_at[way] = start + size / profile.rate
            waits = self._free_at[way] - now
        if profile.loses_every and self._count[way] % profile.loses_every == 0:
            return ()
        if dice.random() < profile.loss:
            return ()
        copies = 2 if dice.random() < profile.duplication else 1
        return tuple(waits + self._delay(dice) for _ in range(copies))

    def _delay(self, dice: random.Random) -> float:
        profile = self._profile
        delay = profile.delay + dice.random() * profile.jitter
        if dice.random() < profile.reordering:
            # Long enough that the next one passes it.
            delay += profile.delay + profile.jitter + 0.05
        return delay
