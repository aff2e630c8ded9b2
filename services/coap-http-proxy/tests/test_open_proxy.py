"""Never an open proxy: nothing is asked for but what was configured, however a URI is spelt, and never with keys."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.mapping import uris
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.testing import CoapClient, HttpUpstream
from coap_wire import Block, Code, Message, Type, decode_block, encode
from coap_wire import options as option
from updraft_local.ports import free_port

BASES = uris.parse_bases(
    "http://127.0.0.1:8080/files, https://files.example, http://[::1]:9000/, http://plain.example/"
)


@asynccontextmanager
async def running(redis_url: str, folder: Path, allowed: str, **more: Any) -> AsyncIterator[tuple[Proxy, CoapClient]]:
    given = ProxySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        cache_directory=folder,
        allowed_upstreams=allowed,
        gateway_token=SecretStr("gateway-secret"),
        **more,
    )
    async with Proxy(given) as proxy:
        client = await CoapClient.connect(proxy.transport.port)
        yield proxy, client
        client.close()


def by_uri(uri: str) -> tuple[tuple[int, bytes], ...]:
    """Zephyr's form."""
    return ((option.URI_PATH, b"coap2http"), (option.PROXY_URI, uri.encode()))


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:8080/files/a",
        "HTTP://127.0.0.1:8080/files/a",
        "http://127.0.0.1:8080/files",
        "http://127.0.0.1:8080/files/a?b=/../c",
        "https://FILES.example/x",
        "https://files.example./x",
        "https://files.example:443/x",
        "http://[::1]:9000/x",
        "http://[0:0:0:0:0:0:0:1]:9000/x",
    ],
)
def test_what_was_configured_is_allowed_however_it_is_spelt(uri: str) -> None:
    if "[0:" in uri:  # another spelling of an address is another host: refused, which is safe
        with pytest.raises(uris.ForbiddenUri):
            uris.allowed(uri, BASES)
        return
    uris.allowed(uri, BASES)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:8081/files/a",
        "http://127.0.0.1:0/files/a",
        "http://plain.example:0/x",
        "http://127.0.0.1/files/a",
        "https://127.0.0.1:8080/files/a",
        "coap://127.0.0.1:8080/files/a",
        "file:///etc/passwd",
        "gopher://127.0.0.1:8080/files/a",
        "//127.0.0.1:8080/files/a",
        "127.0.0.1:8080/files/a",
        "http:/127.0.0.1:8080/files/a",
        "http:127.0.0.1:8080/files/a",
        "http:///127.0.0.1:8080/files/a",
        "http://2130706433:8080/files/a",
        "http://0x7f000001:8080/files/a",
        "http://0177.0.0.1:8080/files/a",
        "http://127.1:8080/files/a",
        "http://[::ffff:127.0.0.1]:8080/files/a",
        "http://[::]:9000/x",
        "http://localhost:8080/files/a",
        "http://127.0.0.1.nip.io:8080/files/a",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:8080@evil.example/files/a",
        "http://evil.example@127.0.0.1:8080/files/a",
        "http://127.0.0.1:8080%2Fevil.example/files/a",
        "http://127.0.0.1:8080#@evil.example/files/a",
        "http://127.0.0.1:8080\\@evil.example/files/a",
        "http://127.0.0.1:8080/secret",
        "http://127.0.0.1:8080/filesystem",
        "http://127.0.0.1:8080/files/../secret",
        "http://127.0.0.1:8080/files/..",
        "http://127.0.0.1:8080/files/%2e%2e/secret",
        "http://127.0.0.1:8080/files/%2e%2e%2fsecret",
        "http://127.0.0.1:8080/files/..%2fsecret",
        "http://127.0.0.1:8080/files/..%5csecret",
        "http://127.0.0.1:8080/files/%252e%252e/secret",
        "http://127.0.0.1:8080/files/%25252e%25252e/secret",
        "http://127.0.0.1:8080/files/..;a=b/secret",
        "http://127.0.0.1:8080/files/./a",
        "http://127.0.0.1:8080/files%2f..%2fsecret",
        "http://127.0.0.1:8080/%66iles/a",
        "https://files.example:8443/x",
        "https://xfiles.example/x",
        "https://files.example.evil.example/x",
        "https://files.example%00.evil.example/x",
        "https://ﬁles.example/x",
        "http://127.0.0.1:8080/files/a\r\nHost: evil.example",
        "http://127.0.0.1:8080/files/a b",
        " http://127.0.0.1:8080/files/a",
        "http://127.0.0.1:99999/files/a",
        "http://[::1/x",
        "http://127.0.0.1:8080/files/" + "a" * 1024,
        "",
    ],
)
def test_tricks_are_refused_before_anything_is_asked(uri: str) -> None:
    with pytest.raises(uris.ForbiddenUri):
        uris.allowed(uri, BASES)


PIECES = st.sampled_from(
    ["http://", "https://", "127.0.0.1", "files.example", ":8080", ":", "@", "/files/", "/", "..", ".", "%2e", "%2f",
     "%25", "\\", "#", "?", ";",
     "[::1]", ":9000", "plain.example", "evil.example", "é", "ﬁ", "\u3002", "1", "0", " ", "\t"]
)  # fmt: skip


@given(
    st.one_of(
        st.lists(PIECES, max_size=12).map("".join), st.text(max_size=40).map("http://127.0.0.1:8080/files/".__add__)
    )
)
@example("http://plain.example:0/x")
@settings(max_examples=1500, deadline=None)
def test_what_is_allowed_is_what_the_http_client_would_connect_to(uri: str) -> None:
    try:
        base = uris.allowed(uri, BASES)
    except uris.ForbiddenUri:
        return
    try:
        asked = httpx.URL(uri)
    except httpx.InvalidURL:
        return  # the client refuses it, and the device gets 4.00
    port = {"http": 80, "https": 443}[asked.scheme] if asked.port is None else asked.port
    assert (asked.scheme, asked.host.rstrip("."), port) == (base.scheme, base.host, base.port)
    assert (asked.path + "/").startswith(base.path)
    assert asked.userinfo == b""


@pytest.mark.rfc("7252-5.7.2-a")
async def test_by_default_nothing_upstream_may_be_asked(redis_url: str, tmp_path: Path) -> None:
    async with HttpUpstream({"/a": b"inside"}) as inside, running(redis_url, tmp_path, "") as (_, client):
        assert (await client.get(extra=by_uri(inside.url("/a")))).code == Code.PROXYING_NOT_SUPPORTED
        assert inside.requests == []


@pytest.mark.rfc("7252-5.7.2-a")
@pytest.mark.parametrize("scheme", ["ftp", "gopher", "file", "coap+tcp", "ws", "data"])
async def test_a_scheme_nobody_speaks_here_is_proxied_by_nobody(scheme: str, redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, "http://files.example/") as (_, client):
        assert (await client.get(extra=by_uri(f"{scheme}://files.example/a"))).code == Code.PROXYING_NOT_SUPPORTED


async def test_a_name_on_the_allow_list_leads_into_the_own_house_only_when_that_was_configured(
    redis_url: str, tmp_path: Path
) -> None:
    async with HttpUpstream({"/a": b"inside"}) as inside:
        allowed = f"http://localhost:{inside.port}/"
        for private, code in (("", Code.BAD_GATEWAY), ("127.0.0.0/8", Code.CONTENT)):
            async with running(redis_url, tmp_path, allowed, private_upstreams=private) as (_, client):
                assert (await client.get(extra=by_uri(f"{allowed}a"))).code == code
        assert len(inside.requests) == 1


async def test_a_redirect_leads_nowhere(redis_url: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/secret": b"inside"}) as inside,
        HttpUpstream({"/a": b"x"}, "away", inside.url("/secret")) as upstream,
        running(redis_url, tmp_path, upstream.url("/")) as (_, client),
    ):
        assert (await client.get(extra=by_uri(upstream.url("/a")))).code == Code.BAD_GATEWAY
        assert inside.requests == []


async def test_strangers_do_not_borrow_the_gateways_token(redis_url: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/a": b"public"}) as upstream,
        running(redis_url, tmp_path, upstream.url("/")) as (_, client),
    ):
        assert (await client.get(extra=by_uri(upstream.url("/a")))).payload == b"public"
        assert "authorization" not in upstream.requests[0]


async def test_what_was_compressed_unasked_is_not_unpacked(redis_url: str, tmp_path: Path) -> None:
    async with (
        HttpUpstream({"/a": b"\x1f\x8b"}, "zip") as upstream,
        running(redis_url, tmp_path, upstream.url("/")) as (_, client),
    ):
        assert (await client.get(extra=by_uri(upstream.url("/a")))).code == Code.BAD_GATEWAY


async def test_many_uris_fill_no_memory(redis_url: str, tmp_path: Path) -> None:
    files = {f"/{n}": bytes((n,)) * 10_000 for n in range(6)}
    async with HttpUpstream(files) as upstream, running(redis_url, tmp_path, upstream.url("/")) as (proxy, client):
        cache = proxy.upstream.representations.cache
        cache.max_memory_bytes = 25_000
        for path in files:
            assert (await client.get(extra=by_uri(upstream.url(path)))).code == Code.CONTENT
        assert 10_000 < cache.memory_bytes <= 25_000
        proxy.upstream.representations.http.max_bytes = 9_999
        upstream.files["/large"] = bytes(10_000)
        assert (await client.get(extra=by_uri(upstream.url("/large")))).code == Code.BAD_GATEWAY


async def test_strangers_are_answered_with_no_more_than_three_times_what_they_sent(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        HttpUpstream({"/a": bytes(5000)}) as upstream,
        running(redis_url, tmp_path, upstream.url("/"), trusted_networks="") as (_, client),
    ):
        shapes = [
            (),
            ((option.URI_PATH, b".well-known"), (option.URI_PATH, b"core")),
            ((option.URI_PATH, b"f"), (option.URI_PATH, b"x" * 12), (option.URI_PATH, b"a")),
            ((option.URI_PATH, b"nothing"),),
            ((option.BLOCK2, b"\x07"),),
            ((9, b""),),
            by_uri("http://evil.example/" + "x" * 200),
            by_uri("nonsense"),
            by_uri(upstream.url("/absent")),
            by_uri(upstream.url("/a")),
        ]
        kinds = itertools.product(shapes, (Type.CON, Type.NON), (Code.GET, Code.POST))
        sent = [encode(Message(kind, code, client.next_mid(), b"", shape)) for shape, kind, code in kinds]
        for request in (*sent, b"\x40\x00\x12\x34", b"\x4f\x01\x12\x34", b"\x40\xff\x12\x34"):
            client.send_raw(request)
            replies = [await client.replies.get()]
            if (replies[0].type, replies[0].code) == (Type.ACK, Code.EMPTY):
                replies.append(await client.replies.get())
            assert sum(len(encode(reply)) for reply in replies) <= 3 * len(request), (request, replies)


async def test_a_stranger_gets_everything_and_large_blocks_once_it_has_echoed(redis_url: str, tmp_path: Path) -> None:
    body = bytes(range(256)) * 8
    async with (
        HttpUpstream({"/a": body}) as upstream,
        running(redis_url, tmp_path, upstream.url("/"), trusted_networks="") as (proxy, client),
    ):
        wanted, data, block = by_uri(upstream.url("/a")), b"", Block(0, True, 6)
        while block.more:
            asked = Block(len(data) // block.size, False, block.szx)
            reply = await client.get(block=asked, extra=wanted)
            value = reply.option(option.BLOCK2)
            assert reply.code == Code.CONTENT and value is not None
            block, data = decode_block(value), data + reply.payload
            echo = reply.option(option.ECHO) or b""
            if len(data) == block.size:
                first_echo = echo
        assert (data, block.szx < 6) == (body, True)
        assert len((await client.get(block=Block(0, False, 6), extra=wanted)).payload) < 1024
        large = await client.get(block=Block(0, False, 6), extra=(*wanted, (option.ECHO, first_echo)))
        assert large.payload == body[:1024]
        assert len((await client.get(block=Block(1, False, 6), extra=wanted)).payload) == 1024
        assert len(upstream.requests) == 1
        assert proxy.gate.counts.echoed == 1


async def test_who_asks_too_often_without_a_ticket_is_told_when_to_come_again(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, "", trusted_networks="", address_requests_per_second=0.001) as (
        proxy,
        client,
    ):
        codes = [(await client.get(".well-known", "core")).code for _ in range(2)]
        assert codes == [Code.TOO_MANY_REQUESTS] * 2
        assert proxy.gate.counts.limited == 2
