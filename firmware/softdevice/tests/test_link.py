"""The link model: what each property does to a stream of datagrams, and that a seed decides all of it."""

from dataclasses import fields
from pathlib import Path
from statistics import mean

import pytest

from softdevice.link import GOOD, MAX_QUEUE_SECONDS, PRESETS, Link, LinkProfile, parse_link
from softdevice.options import DeviceOptions

COUNT = 4000


def outcomes(profile: LinkProfile, seed: str = "seed", gap: float = 1.0, size: int = 100) -> list[tuple[float, ...]]:
    """Delays of the copies of each of many datagrams, sent `gap` seconds apart."""
    link = Link(profile, seed)
    return [link.sent(size, number * gap) for number in range(COUNT)]


def test_perfect_link_passes_everything_at_once() -> None:
    assert set(outcomes(GOOD)) == {(0.0,)}


@pytest.mark.parametrize("name", PRESETS)
def test_same_seed_gives_the_same_run_and_another_one_another(name: str) -> None:
    assert outcomes(PRESETS[name]) == outcomes(PRESETS[name])
    assert (outcomes(PRESETS[name]) != outcomes(PRESETS[name], "other")) == (name != "good")


def test_shares_are_as_the_profile_says() -> None:
    seen = outcomes(LinkProfile(delay=0.5, jitter=0.2, loss=0.2, duplication=0.1, reordering=0.1))
    arrived = [copies for copies in seen if copies]
    assert 0.18 < 1 - len(arrived) / COUNT < 0.22
    assert 0.08 < mean(len(copies) == 2 for copies in arrived) < 0.12
    assert 0.08 < mean(copies[0] > 0.7 for copies in arrived) < 0.12
    assert min(copies[0] for copies in arrived) >= 0.5


def test_reordered_datagram_is_overtaken_by_the_next() -> None:
    link = Link(LinkProfile(delay=0.1, reordering=0.3), "seed")
    times = [number * 0.02 + link.sent(50, number * 0.02)[0] for number in range(200)]
    assert sorted(times) != times


def test_datagrams_queue_for_a_slow_line_and_a_full_modem_drops_them() -> None:
    link = Link(LinkProfile(rate=128.0), "seed")
    # 100 bytes and their headers take a second.
    assert [link.sent(100, 0.0) for _ in range(3)] == [(1.0,), (2.0,), (3.0,)]
    assert link.arrived(100, 0.0) == (1.0,), "the other direction has its own queue"
    assert link.sent(100, 10.0) == (1.0,)
    flood = [link.sent(100, 20.0) for _ in range(60)]
    assert flood.count(()) == 60 - 1 - MAX_QUEUE_SECONDS


def test_too_large_a_datagram_is_lost() -> None:
    link = Link(LinkProfile(mtu=128), "seed")
    assert (link.sent(100, 0.0), link.sent(101, 0.0)) == ((0.0,), ())


def test_every_fifth_is_lost_in_each_direction_for_itself() -> None:
    link = Link(LinkProfile(loses_every=5), "seed")
    for way in (link.sent, link.arrived):
        assert [bool(way(10, 0.0)) for _ in range(10)] == [True, True, True, True, False] * 2


def test_outage_comes_once_in_each_period_for_its_time_at_a_place_of_its_own() -> None:
    link = Link(LinkProfile(outage=60.0, outage_every=600.0), "seed")
    out = [second for second in range(6000) if link.is_out(second)]
    per_period = [[second % 600 for second in out if second // 600 == period] for period in range(10)]
    assert all(59 <= len(seconds) <= 61 for seconds in per_period)
    assert len({seconds[0] for seconds in per_period}) > 5
    assert (link.sent(10, out[0]), link.arrived(10, out[0])) == ((), ())


def test_idle_mapping_is_forgotten_and_nothing_arrives_until_the_device_speaks() -> None:
    link = Link(LinkProfile(rebinding=30.0), "seed")
    link.sent(10, 0.0)
    assert link.arrived(10, 29.0) and not link.is_unbound(29.0)
    assert link.is_unbound(31.0) and link.arrived(10, 31.0) == ()
    link.sent(10, 32.0)
    assert link.arrived(10, 33.0)


def test_sleeping_device_hears_nothing_until_it_has_sent_something() -> None:
    link = Link(awake=20.0)
    link.sent(10, 100.0)
    assert link.hears(120.0) and not link.hears(120.1)
    link.sent(10, 130.0)
    assert link.hears(131.0)


def test_link_is_written_as_a_preset_with_values_changed() -> None:
    assert parse_link("nb-iot") == PRESETS["nb-iot"]
    changed = parse_link("nb-iot,loss=0.5,loses_every=3")
    assert (changed.loss, changed.loses_every, changed.rate) == (0.5, 3, PRESETS["nb-iot"].rate)
    assert parse_link("delay=1") == LinkProfile(delay=1.0)


@pytest.mark.parametrize(
    "text",
    ["", "moon", "loss", "loss=x", "loss=1.5", "delay=-1", "delay=nan", "rate=inf", "loss=0.1,nb-iot", "outage=5"],
)
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_link(text)


def documented(name: str, profile: LinkProfile) -> str:
    """The row of a preset in docs/fleet.md."""
    others = {
        field.name: getattr(profile, field.name)
        for field in fields(LinkProfile)
        if field.name not in ("delay", "jitter", "loss", "rate") and getattr(profile, field.name)
    }
    besides = ", ".join(f"{key} {value:g}" for key, value in others.items())
    return f"| `{name}` | {profile.delay:g} + {profile.jitter:g} | {profile.loss:g} | {profile.rate:g} | {besides} |"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_documented_as_they_are(name: str) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "fleet.md"
    assert documented(name, PRESETS[name]) in page.read_text().splitlines()


def test_seed_gives_each_boot_of_each_device_its_own_dice_and_the_same_ones_again() -> None:
    options = DeviceOptions(("192.0.2.1", 5683), seed=7)
    drawn = [options.dice_of(name, boot).getrandbits(64) for name in ("a", "b") for boot in (1, 2)]
    assert len(set(drawn)) == 4
    assert drawn == [options.dice_of(name, boot).getrandbits(64) for name in ("a", "b") for boot in (1, 2)]
