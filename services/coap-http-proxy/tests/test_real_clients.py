"""Devices in the field, datagram by datagram: what Zephyr, dm-lwm2m and Anjay send to pull firmware, and what they get.

The requests are those of the sources: Zephyr `subsys/net/lib/lwm2m/lwm2m_pull_context.c` (before 2022:
`lwm2m_obj_firmware_pull.c`), Anjay `src/core/downloader/anjay_coap.c` with its tests. Every byte is written down, in
hexadecimal where it is structure, so that a reader can check it against RFC 7252 section 3 with a pencil.
"""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import HttpUpstream, mint
from coap_wire import decode
from coap_wire import options as option
from updraft_local.ports import free_port

PATIENCE_SECONDS = 10.0
TICKET = b"Zq3-_x09AbCd"
# 1,000 bytes: three blocks of 256 and one of 232; one block of 1024.
IMAGE = bytes(range(250)) * 4
ETAG = "5d 4b 1b 13 f0 da a8 63"
# Behind a block: ETag (4), Content-Format 42 (12), then Block2 (23); behind that Size2 = 1000 (28) and the payload.
HEAD, TAIL = f"48 {ETAG} 81 2a", "52 03e8 ff"
# Uri-Path `f`, the ticket, `a.bin`.
PATH = f"b1 66 0c {TICKET.hex()} 05 612e62696e"


def test_the_etag_written_down_here_is_the_beginning_of_the_images_sha256() -> None:
    assert hashlib.sha256(IMAGE).digest()[:8] == bytes.fromhex(ETAG)


class Wire:
    """A device's socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))

    async def says(self, *parts: str | bytes) -> None:
        """Send one datagram."""
        await asyncio.get_running_loop().sock_sendall(self._socket, joined(*parts))

    async def hears(self, *parts: str | bytes) -> None:
        """The next datagram has to be exactly this one."""
        assert (await self.next()).hex(" ") == joined(*parts).hex(" ")

    async def next(self) -> bytes:
        """The next datagram."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._socket, 2048), PATIENCE_SECONDS)

    def close(self) -> None:
        """Power off."""
        self._socket.close()


def joined(*parts: str | bytes) -> bytes:
    return b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator["redis.Redis"]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


async def give_ticket(store: "redis.Redis", url: str, image: bytes, ticket: bytes = TICKET) -> None:
    """The ticket these datagrams show, and no other."""
    made = await mint(store, url, image)
    await store.rename(f"updraft:ticket:{made}", f"updraft:ticket:{ticket.decode()}")


@asynccontextmanager
async def proxy_of(
    redis_url: str, folder: Path, upstream: HttpUpstream, ack_delay_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[Wire]:
    """A device in front of a running proxy, which answers piggy-backed unless it is to be in a hurry."""
    settings = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(socket.SOCK_DGRAM),
        cache_directory=folder,
        allowed_upstreams=upstream.url("/"),
        ack_delay_seconds=ack_delay_seconds,
    )
    async with Proxy(settings):
        device = Wire(settings.coap_port)
        yield device
        device.close()


@pytest.mark.rfc("7959 2.4")
@pytest.mark.rfc("7252 5.3.1")
async def test_zephyr_fetches_with_one_token_and_asks_for_the_size_every_time(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    token = "a1b2c3d4e5f60718"
    async with HttpUpstream({"/a": IMAGE}) as upstream, proxy_of(redis_url, tmp_path, upstream) as zephyr:
        await give_ticket(store, upstream.url("/a"), IMAGE)
        for mid, asked, answered, start in (
            ("1f00", "c1 04", "b1 0c", 0),  # Block2 0/0/256, answered 0/1/256
            ("1f01", "c1 14", "b1 1c", 256),
            ("1f02", "c1 24", "b1 2c", 512),
            ("1f03", "c1 34", "b1 34", 768),  # the last one: more is 0
        ):
            await zephyr.says("48 01", mid, token, PATH, asked, "50")
            await zephyr.hears("68 45", mid, token, HEAD, answered, TAIL, IMAGE[start : start + 256])
    assert [one["path"] for one in upstream.requests] == ["/a"]


@pytest.mark.rfc("7252 4.2")
@pytest.mark.rfc("7252 5.2.2")
async def test_zephyr_is_told_to_wait_and_gets_its_block_in_a_message_of_its_own(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    token = "0011223344556677"
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, proxy_of(redis_url, tmp_path, upstream, 0.2) as zephyr:
        await give_ticket(store, upstream.url("/a"), IMAGE)
        await zephyr.says("48 01 0100", token, PATH, "c1 04 50")
        await zephyr.hears("60 00 0100")  # the empty ACK that stops its retransmissions
        separate = await zephyr.next()
        assert separate == joined("48 45", separate[2:4], token, HEAD, "b1 0c", TAIL, IMAGE[:256])
        await zephyr.says("60 00", separate[2:4])
        await zephyr.says("48 01 0101", token, PATH, "c1 14 50")
        await zephyr.hears("68 45 0101", token, HEAD, "b1 1c", TAIL, IMAGE[256:512])


@pytest.mark.rfc("7252 4.5")
async def test_old_zephyr_repeats_a_block_with_its_token_and_a_new_message_id(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    """Until 2021 a block whose retransmissions were lost was asked for anew, three times in a download."""
    token = "d00dfeedcafe0102"
    async with HttpUpstream({"/a": IMAGE}) as upstream, proxy_of(redis_url, tmp_path, upstream) as zephyr:
        await give_ticket(store, upstream.url("/a"), IMAGE)
        second = (token, HEAD, "b1 1c", TAIL, IMAGE[256:512])
        await zephyr.says("48 01 7ffe", token, PATH, "c1 04 50")
        await zephyr.hears("68 45 7ffe", token, HEAD, "b1 0c", TAIL, IMAGE[:256])
        for _ in range(3):  # the same datagram again: the same answer again
            await zephyr.says("48 01 7fff", token, PATH, "c1 14 50")
            await zephyr.hears("68 45 7fff", *second)
        for mid in ("8000", "8001", "8002"):
            await zephyr.says("48 01", mid, token, PATH, "c1 14 50")
            await zephyr.hears("68 45", mid, *second)
        await zephyr.says("48 01 8003", token, PATH, "c1 24 50")
        await zephyr.hears("68 45 8003", token, HEAD, "b1 2c", TAIL, IMAGE[512:768])


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.rfc("7252 5.10.2")
@pytest.mark.parametrize(
    ("mapping", "uri"),
    [
        (b"coap2coap", b"coap://192.0.2.7:5683/f/" + TICKET + b"/fw"),
        (b"coap2coap", b"coaps://192.0.2.7:5684/f/" + TICKET + b"/fw"),
        (b"coap2http", b"http://firmware.example:80/f/" + TICKET + b"/a.bin"),
    ],
)
async def test_zephyrs_proxy_build_gets_the_image_its_package_uri_names(
    mapping: bytes, uri: bytes, redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    token = "5a5a5a5a00000001"
    # Proxy-Uri (35) is twelve past Block2 (23); its length over 13 follows in a byte of its own.
    proxy_uri = joined("cd", bytes((len(uri) - 13,)), uri)
    async with HttpUpstream({"/a": IMAGE}) as upstream, proxy_of(redis_url, tmp_path, upstream) as zephyr:
        await give_ticket(store, upstream.url("/a"), IMAGE)
        for mid, asked, answered, start in (
            ("0a00", "c1 04", "b1 0c", 0),
            ("0a01", "c1 14", "b1 1c", 256),
            ("0a02", "c1 24", "b1 2c", 512),
            ("0a03", "c1 34", "b1 34", 768),
        ):
            await zephyr.says("48 01", mid, token, "b9", mapping, asked, proxy_uri)
            await zephyr.hears("68 45", mid, token, HEAD, answered, TAIL, IMAGE[start : start + 256])


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.rfc("7959 2.4")
async def test_zephyrs_proxy_build_gets_an_image_of_an_allowed_server(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    """What Zephyr looks at: code, block and payload; a block is as large as asked for, and the last one is told."""
    token, got = "5a5a5a5a00000002", b""
    async with HttpUpstream({"/a": IMAGE}) as upstream, proxy_of(redis_url, tmp_path, upstream) as zephyr:
        uri = upstream.url("/a").encode()
        for number, asked in enumerate(("c1 04", "c1 14", "c1 24", "c1 34")):
            mid = f"0b0{number}"
            await zephyr.says("48 01", mid, token, "b9", b"coap2http", asked, "cd", bytes((len(uri) - 13,)), uri)
            datagram = await zephyr.next()
            assert datagram[:12] == joined("68 45", mid, token)
            answer = decode(datagram)
            assert answer.uint(option.BLOCK2) == number << 4 | (number < 3) << 3 | 4
            got += answer.payload
    assert got == IMAGE
    assert len(upstream.requests) == 1


async def test_dm_lwm2m_fetches_an_image_that_ends_with_a_whole_block(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    """256-byte blocks; block numbers past 15 take two bytes; the last block is full, and none is asked for after it."""
    image = bytes(range(256)) * 18
    etag = hashlib.sha256(image).digest()[:8]
    token = "00000000000000ff"
    async with HttpUpstream({"/a": image}) as upstream, proxy_of(redis_url, tmp_path, upstream) as device:
        await give_ticket(store, upstream.url("/a"), image)
        for number, asked, answered in (
            (0, "c1 04", "b1 0c"),
            (1, "c1 14", "b1 1c"),
            (15, "c1 f4", "b1 fc"),
            (16, "c2 0104", "b2 010c"),
            (17, "c2 0114", "b2 0114"),
        ):
            mid = f"00{number:02x}"
            await device.says("48 01", mid, token, PATH, asked, "50")
            await device.hears("68 45", mid, token, "48", etag, "81 2a", answered, "52 1200 ff", bytes(range(256)))


@pytest.mark.rfc("7959 2.4")
async def test_anjay_begins_without_a_block_option_and_takes_a_new_token_for_each_block(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    image = bytes(range(240)) * 10
    etag = hashlib.sha256(image).digest()[:8]
    async with HttpUpstream({"/a": image}) as upstream, proxy_of(redis_url, tmp_path, upstream) as anjay:
        await give_ticket(store, upstream.url("/a"), image)
        for mid, token, asked, answered, start in (
            ("6000", "0000000000000000", "", "b1 0e", 0),  # nothing asked: 1024 bytes
            ("6001", "0100000000000000", "c1 16", "b1 1e", 1024),
            ("6002", "0200000000000000", "c1 26", "b1 26", 2048),
        ):
            await anjay.says("48 01", mid, token, PATH, asked)
            block = image[start : start + 1024]
            await anjay.hears("68 45", mid, token, "48", etag, "81 2a", answered, "52 0960 ff", block)


@pytest.mark.rfc("7959 2.4")
@pytest.mark.rfc("7252 5.10.6")
async def test_anjay_goes_on_in_the_middle_after_both_were_restarted_and_knows_the_image_by_its_etag(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    """It keeps offset and ETag over a reboot, and begins with the block that holds its offset."""
    image, other = bytes(range(240)) * 10, bytes(range(240, 0, -1)) * 10
    etag, other_etag = (hashlib.sha256(one).digest()[:8] for one in (image, other))
    async with HttpUpstream({"/a": image, "/b": other}) as upstream:
        await give_ticket(store, upstream.url("/a"), image)
        async with proxy_of(redis_url, tmp_path, upstream) as anjay:
            await anjay.says("48 01 0001", "0000000000000000", PATH)
            first = joined("48", etag, "81 2a b1 0e 52 0960 ff", image[:1024])
            await anjay.hears("68 45 0001", "0000000000000000", first)
        async with proxy_of(redis_url, tmp_path, upstream) as anjay:
            await anjay.says("48 01 e001", "0000000000000000", PATH, "c1 16")  # 1,500 bytes were kept: block 1
            middle = joined("48", etag, "81 2a b1 1e 52 0960 ff", image[1024:2048])
            await anjay.hears("68 45 e001", "0000000000000000", middle)
            await anjay.says("48 01 e002", "0100000000000000", PATH, "c1 26")
            last = joined("48", etag, "81 2a b1 26 52 0960 ff", image[2048:])
            await anjay.hears("68 45 e002", "0100000000000000", last)
        # Another image at the same address is another ETag: Anjay begins anew, and never mixes the two.
        await give_ticket(store, upstream.url("/b"), other)
        async with proxy_of(redis_url, tmp_path, upstream) as anjay:
            await anjay.says("48 01 0001", "0000000000000000", PATH, "c1 16")
            middle = joined("48", other_etag, "81 2a b1 1e 52 0960 ff", other[1024:2048])
            await anjay.hears("68 45 0001", "0000000000000000", middle)


@pytest.mark.rfc("7252 5.3.1")
@pytest.mark.rfc("7252 4.3")
async def test_one_socket_may_carry_two_downloads_and_a_registration_at_once(
    redis_url: str, store: "redis.Redis", tmp_path: Path
) -> None:
    """Anjay's `prefer_same_socket_downloads`: an Update of its registration falls between two blocks."""
    second = b"another-file"
    other_path = f"b1 66 0c {second.hex()} 05 612e62696e"
    async with HttpUpstream({"/a": IMAGE}, "slow") as upstream, proxy_of(redis_url, tmp_path, upstream, 0.2) as anjay:
        await give_ticket(store, upstream.url("/a"), IMAGE)
        await give_ticket(store, upstream.url("/a"), IMAGE, second)
        await anjay.says("48 01 0001", "0000000000000000", PATH, "c1 04")
        await anjay.hears("60 00 0001")
        # While the proxy fetches: POST /rd/5a3f, a refusal here, at once; and a ping, which is answered by a Reset.
        await anjay.says("48 02 0002", "0100000000000000", "b2 7264 04 35613366")
        refused = await anjay.next()
        assert refused[:1] + refused[2:12] == joined("68 0002 0100000000000000")
        assert refused[1] >> 5 == 4
        await anjay.says("40 00 0003")
        await anjay.hears("70 00 0003")
        separate = await anjay.next()
        assert separate == joined("48 45", separate[2:4], "0000000000000000", HEAD, "b1 0c", TAIL, IMAGE[:256])
        await anjay.says("60 00", separate[2:4])
        # Two downloads in turn, and the answers say whose they are by their tokens.
        await anjay.says("48 01 0004", "0200000000000000", other_path, "c1 34")
        await anjay.says("48 01 0005", "0300000000000000", PATH, "c1 14")
        heard = {await anjay.next(), await anjay.next()}
        assert heard == {
            joined("68 45 0004", "0200000000000000", HEAD, "b1 34", TAIL, IMAGE[768:]),
            joined("68 45 0005", "0300000000000000", HEAD, "b1 1c", TAIL, IMAGE[256:512]),
        }
    assert len(upstream.requests) == 1
