"""A hundred downloads while the proxy is killed, its upstream dies, its disk is full, its Redis is away.

Every device finishes without beginning anew, every byte is the image's, and the upstream's bytes are counted.
"""

import asyncio
import errno
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from crowd import LONGEST_WAIT_SECONDS, Crowd, Device, all_of
from upstream import PIECE_BYTES, FrailUpstream

from coap_wire import options as option
from softdevice import images
from updraft_local.alone import LoneProxy

DEVICES = 100
# One way; a whole image takes a device some seconds, long enough for several blows.
LINK_DELAY_SECONDS = 0.02
DISK_BYTES = 1 << 20
BALLAST = "ballast"


@pytest.fixture(scope="module")
def image() -> bytes:
    """A real Zephyr build, signed."""
    return images.sign(images.zephyr_payload(images.ZEPHYR_PACKAGES[0]), "1.1.0", images.new_key())


@asynccontextmanager
async def running(
    folder: Path, upstream: FrailUpstream, under: tuple[str, ...] = (), **settings: str
) -> AsyncIterator[LoneProxy]:
    """The proxy in front of `upstream`; waiting for its process does not stop the devices."""
    await upstream.start()
    proxy = LoneProxy(folder, {"ALLOWED_UPSTREAMS": upstream.url("/"), **settings}, under)
    try:
        await asyncio.to_thread(proxy.start)
        yield proxy
    finally:
        await asyncio.to_thread(proxy.stop)
        upstream.die()


def crowd_of(
    proxy: LoneProxy, url: str, image: bytes, count: int = DEVICES, delay_seconds: float = LINK_DELAY_SECONDS
) -> Crowd:
    """Devices with a ticket each."""
    tokens = [proxy.ticket(url, image, f"device-{number}") for number in range(count)]
    return Crowd([Device(proxy.coap, ("f", token, "fw.bin"), image, delay_seconds) for token in tokens])


def require_honest_progress(proxy: LoneProxy, crowd: Crowd) -> None:
    """What was reported of each download never went backwards, and ends at the end."""
    told = proxy.progress()
    for device in crowd.devices:
        events = told[device.path[1]]
        offsets = [event["offset"] for event in events]
        assert offsets == sorted(offsets)
        assert offsets[-1] == len(device.image)
        assert events[-1]["restarts"] == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_proxy_killed_again_and_again_costs_no_device_a_block(
    workers: str, tmp_path: Path, image: bytes
) -> None:
    upstream = FrailUpstream({"/fw": image})
    async with running(tmp_path, upstream, WORKERS=workers) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        crowd.start()
        await crowd.until_share(0.1)
        upstream.die()  # what is on the disk needs no upstream, and is hashed anew by each process
        for share in (0.1, 0.4):
            await crowd.until_share(share)
            proxy.process.kill()
            await asyncio.to_thread(proxy.restart)
        await crowd.until_share(0.7)
        await asyncio.to_thread(proxy.process.stop)  # in order, by SIGTERM, as an upgrade does
        await asyncio.to_thread(proxy.restart)
        await crowd.finish()
        crowd.require_no_refusal()
        assert upstream.sent == len(image)
        await asyncio.to_thread(proxy.process.stop)
        require_honest_progress(proxy, crowd)


async def test_a_proxy_killed_while_the_image_arrives_leaves_nothing_that_could_be_served(
    tmp_path: Path, image: bytes
) -> None:
    half = len(image) // 2
    upstream = FrailUpstream({"/fw": image}, allowance=half)
    async with running(tmp_path, upstream) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        crowd.start()
        await crowd.until(lambda: upstream.holds_its_breath)
        await crowd.until(lambda: written(proxy) == upstream.sent)
        before = upstream.sent
        proxy.process.kill()
        await asyncio.to_thread(proxy.restart)
        assert crowd.share == 0
        upstream.allow(1 << 40)
        await crowd.finish()
        # A device that was told to wait waits for a process that is gone, until it asks again.
        crowd.require_no_restart()
        assert all_of(device.refused for device in crowd.devices) == {}
        assert proxy.stats()["upstreamBytes"] == len(image) - before, "what the first one wrote, the second took up"


def written(proxy: LoneProxy) -> int:
    """Bytes of images on its disk, whole or not."""
    return sum(path.stat().st_size for path in proxy.blocks.iterdir())


async def test_a_worker_killed_while_the_image_arrives_and_again_later_costs_no_device_a_block(
    tmp_path: Path, image: bytes
) -> None:
    half = len(image) // 2
    upstream = FrailUpstream({"/fw": image}, allowance=half)
    async with running(tmp_path, upstream, WORKERS="2") as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        crowd.start()
        await crowd.until(lambda: upstream.holds_its_breath)
        first = who_fetches(proxy)
        os.kill(first, signal.SIGKILL)
        killed = {first}
        upstream.allow(1 << 40)
        for share in (0.2, 0.4, 0.6):
            await crowd.until_share(share)
            pid = min(await new_workers(proxy, killed))
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        await crowd.finish()
        # Who was told to wait by a process that is gone asks again; nobody begins anew.
        crowd.require_no_restart()
        assert all_of(device.refused for device in crowd.devices) == {}
        assert upstream.ranges[1:] != ["0-"], "the other one went on where the first was"
        await asyncio.to_thread(proxy.process.stop)
        require_honest_progress(proxy, crowd)


def who_fetches(proxy: LoneProxy) -> int:
    """The process that holds the lock of the image on its way (see proc_locks(5))."""
    (part,) = proxy.blocks.glob("part-*")
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, _, _, pid, where, *_ = line.split()
        if kind == "FLOCK" and int(where.rpartition(":")[2]) == part.stat().st_ino:
            return int(pid)
    raise AssertionError(f"nobody holds {part.name}")


async def new_workers(proxy: LoneProxy, killed: set[int]) -> list[int]:
    """The two workers that live, once those that were killed have successors."""
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while len(alive := [pid for pid in proxy.workers() if pid not in killed]) < 2:
            await asyncio.sleep(0.05)
    return alive


async def test_an_upstream_that_dies_in_mid_transfer_and_comes_back_is_not_noticed(
    tmp_path: Path, image: bytes
) -> None:
    upstream = FrailUpstream({"/fw": image}, allowance=len(image) // 2)
    async with running(tmp_path, upstream) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        crowd.start()
        await crowd.until(lambda: upstream.holds_its_breath)
        upstream.die()
        await asyncio.sleep(2.0)  # how long it is away
        upstream.allow(1 << 40)
        await upstream.start()
        await crowd.finish()
        crowd.require_no_refusal()
        assert proxy.stats()["upstreamBytes"] == len(image)
        assert upstream.ranges[0] == "0-" and upstream.ranges[1] != "0-", "it went on where it was"


async def test_an_upstream_that_stays_away_is_waited_for_by_the_devices(tmp_path: Path, image: bytes) -> None:
    upstream = FrailUpstream({"/fw": image}, allowance=len(image) // 2)
    async with running(tmp_path, upstream) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        crowd.start()
        await crowd.until(lambda: upstream.holds_its_breath)
        upstream.die()
        await crowd.until(lambda: all(device.refused for device in crowd.devices))
        assert crowd.share == 0
        upstream.allow(1 << 40)
        await upstream.start()
        await crowd.finish()
        crowd.require_no_restart()
        assert set(all_of(device.refused for device in crowd.devices)) <= {"5.02", "5.03", "5.04"}
        assert proxy.stats()["upstreamBytes"] <= len(image) * 3 // 2 + PIECE_BYTES, "half of it came for nothing, once"


async def test_downloads_by_a_reverse_path_outlive_a_killed_proxy(tmp_path: Path, image: bytes) -> None:
    """Without a ticket nothing is kept on disk: each process fetches once, and the entity tag is the same."""
    upstream = FrailUpstream({"/fw": image})
    await upstream.start()
    upstream.die()  # its port is known now
    async with running(tmp_path, upstream, REVERSE=f"/images={upstream.url('/')}") as proxy:
        path = ("images", "fw")
        crowd = Crowd([Device(proxy.coap, path, image, LINK_DELAY_SECONDS) for _ in range(DEVICES)])
        crowd.start()
        for share in (0.2, 0.6):
            await crowd.until_share(share)
            proxy.process.kill()
            await asyncio.to_thread(proxy.restart)
        await crowd.finish()
        crowd.require_no_refusal()
        assert upstream.sent == 3 * len(image)


async def test_a_full_disk_stops_nobody_who_downloads_and_ends_with_it(tmp_path: Path, image: bytes) -> None:
    other = os.urandom(300_000)
    upstream = FrailUpstream({"/fw": image, "/other": other}, allowance=len(image) + len(other) // 2)
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    # A file system of its own, in a mount namespace of its own: no other rights are needed, and it goes with the proxy.
    mount = f"mount -t tmpfs -o size={DISK_BYTES} tmpfs '{blocks}' && exec \"$@\""
    under = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh")
    async with running(tmp_path, upstream, under) as proxy:
        assert proxy.process.child is not None
        disk = Path(f"/proc/{proxy.process.child.pid}/root{blocks}")
        first = crowd_of(proxy, upstream.url("/fw"), image, DEVICES // 2)
        second = crowd_of(proxy, upstream.url("/other"), other, DEVICES // 2)
        first.start()
        await first.until_share(0.05)
        second.start()
        await second.until(lambda: upstream.holds_its_breath)
        fill(disk / BALLAST)
        upstream.allow(1 << 40)
        await second.until(lambda: all(device.refused for device in second.devices))
        assert (second.share, first.share < 1) == (0, True), "the disk is full, and those before go on"
        (disk / BALLAST).unlink()
        await first.finish()
        await second.finish()
        first.require_no_refusal()
        second.require_no_restart()
        assert set(all_of(device.refused for device in second.devices)) == {"5.03"}
        kept = {path.name: path.read_bytes() for path in disk.iterdir()}
        assert {name: hashlib.sha256(data).hexdigest() for name, data in kept.items()} == {name: name for name in kept}


async def test_a_cache_that_is_too_small_for_two_images_serves_both_to_their_ends(tmp_path: Path) -> None:
    """The second one takes the first one's room; who still downloads that, the long way too, is served on."""
    files = {"/first": os.urandom(600_000), "/second": os.urandom(600_000)}
    upstream = FrailUpstream(files)
    async with running(tmp_path, upstream, CACHE_BYTES=str(1 << 20)) as proxy:
        first, second = (crowd_of(proxy, upstream.url(path), data, 10, 0.0) for path, data in files.items())
        for device in (*first.devices[:5], *second.devices[:5]):
            device.further = ((option.URI_PORT, proxy.coap.to_bytes(2, "big")),)
        first.start()
        await first.until_share(0.2)
        second.start()
        await first.finish()
        await second.finish()
        for crowd in (first, second):
            crowd.require_no_refusal()
        assert upstream.sent == sum(len(data) for data in files.values())
        kept = {path.name for path in proxy.blocks.iterdir()}
        assert hashlib.sha256(files["/first"]).hexdigest() not in kept, "the first had to go"


def fill(path: Path) -> None:
    """Write until the file system has no room for another byte."""
    with path.open("wb", buffering=0) as ballast:
        for size in (4096, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC


async def test_redis_away_is_not_noticed_by_who_downloads_and_waited_for_by_who_comes(
    tmp_path: Path, image: bytes
) -> None:
    upstream = FrailUpstream({"/fw": image})
    async with running(tmp_path, upstream) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image)
        late = crowd_of(proxy, upstream.url("/fw"), image, 10)
        crowd.start()
        await crowd.until_share(0.2)
        proxy.redis.kill()
        late.start()
        await crowd.until_share(0.6)
        await late.until(lambda: all(device.refused for device in late.devices))
        await asyncio.to_thread(proxy.redis.start)
        await crowd.finish()
        await late.finish()
        crowd.require_no_refusal()
        late.require_no_restart()
        assert set(all_of(device.refused for device in late.devices)) == {"5.03"}
        assert upstream.sent == len(image)
        await asyncio.to_thread(proxy.process.stop)
        for one in (crowd, late):
            require_honest_progress(proxy, one)


async def test_a_proxy_started_anew_while_redis_is_away_lets_nobody_begin_anew(tmp_path: Path, image: bytes) -> None:
    """Two faults at once: the new process cannot know whose tickets are good, and says so; it never says 4.04."""
    upstream = FrailUpstream({"/fw": image})
    async with running(tmp_path, upstream) as proxy:
        crowd = crowd_of(proxy, upstream.url("/fw"), image, 20)
        crowd.start()
        await crowd.until_share(0.3)
        proxy.redis.kill()
        proxy.process.kill()
        proxy.process.start()
        await crowd.until(lambda: all(device.refused for device in crowd.devices))
        assert crowd.share < 1
        await asyncio.to_thread(proxy.redis.start)
        await crowd.finish()
        crowd.require_no_restart()
        assert set(all_of(device.refused for device in crowd.devices)) == {"5.03"}
        assert upstream.sent == len(image)
