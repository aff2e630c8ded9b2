"""Names lead where they may: a name server that lies, or changes its mind, opens no door into the proxy's network."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from coap_http_proxy.guard import ForbiddenAddress, guarded_client, resolve_checked
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.addresses import literal, parse_networks, refused_because

REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "100.64.0.1": "shared with a carrier's NAT",
    "100.100.100.200": "shared with a carrier's NAT",  # a cloud's metadata
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link-local",  # most clouds' metadata
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "reserved for protocols",  # a cloud's metadata
    "192.168.1.1": "private",
    "198.18.0.1": "for benchmarks",
    "203.0.113.9": "for documentation",
    "224.0.1.187": "multicast",  # All CoAP Nodes
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "not global unicast",  # the IPv4-compatible form
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fd00:ec2::254": "private",  # a cloud's metadata
    "ff02::fd": "multicast",
    "2001:db8::1": "for documentation",
    "2001::1": "reserved for protocols",  # Teredo carries IPv4 addresses of anybody
    "::ffff:127.0.0.1": "loopback",
    "::ffff:a9fe:a9fe": "link-local",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::a00:1": "private",
    "64:ff9b:1::1": "not global unicast",
    "2002:7f00:1::": "loopback",
    "2002:a9fe:a9fe::1": "link-local",
    "fec0::1": "not global unicast",
    "4000::1": "not global unicast",
}


@pytest.mark.parametrize(("address", "kind"), REFUSED.items())
def test_addresses_of_the_own_house_are_refused_in_every_form(address: str, kind: str) -> None:
    written = literal(address)
    assert written is not None
    assert refused_because(written) == kind


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"],
)
def test_public_addresses_may_be_connected_to(address: str) -> None:
    written = literal(address)
    assert written is not None
    assert refused_because(written) is None


def test_what_was_configured_may_be_connected_to_in_every_form_and_nothing_beside_it() -> None:
    private = parse_networks("10.1.0.0/16, fd00::/8")
    answers = {
        address: refused_because(written, private)
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1", "10.2.0.1", "127.0.0.1")
        if (written := literal(address))
    }
    assert list(answers.values()) == [None, None, None, None, "private", "loopback"]


@pytest.mark.parametrize("name", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "127.0.0.1.nip.io"])
def test_other_spellings_of_an_address_are_names_and_get_resolved(name: str) -> None:
    assert literal(name) is None


@dataclass
class NameServer:
    """Answers each question with the next of its answers; the last one stays."""

    answers: list[list[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@dataclass
class Web:
    """An HTTP server that notes who connected and what they said; one connection, one answer."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    server_names: list[str | None] = field(default_factory=list)
    answer: str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer.encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web(address: str, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    served = Web()
    server = await asyncio.start_server(served.connected, address, port, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()


def bases(port: int, scheme: str = "http") -> tuple[uris.Base, ...]:
    return uris.parse_bases(f"{scheme}://files.example:{port}/, http://127.0.0.1:{port}/")


async def test_a_name_of_the_allow_list_that_leads_inside_is_not_followed() -> None:
    async with web("127.0.0.2") as inside:
        names = NameServer([["127.0.0.2"]])
        async with guarded_client(bases(inside.port), resolve=names) as client:
            with pytest.raises(httpx.ConnectError, match="no address that may be connected to"):
                await client.get(f"http://files.example:{inside.port}/a")
        assert (inside.connections, names.asked) == (0, ["files.example"])


async def test_a_name_server_that_changes_its_mind_is_asked_once_a_connection_and_judged_each_time() -> None:
    async with web("127.0.0.1") as outside, web("127.0.0.2", outside.port) as inside:
        names = NameServer([["127.0.0.1"], ["127.0.0.2"]])
        private = parse_networks("127.0.0.1/32")  # what plays the public server here
        async with guarded_client(bases(outside.port), private, names) as client:
            answer = await client.get(f"http://files.example:{outside.port}/a")
            assert answer.text == "hello"
            assert names.asked == ["files.example"]
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://files.example:{outside.port}/a")
        assert (outside.connections, inside.connections, len(names.asked)) == (1, 0, 2)


async def test_of_several_addresses_only_those_allowed_are_tried_one_after_the_other() -> None:
    async with web("127.0.0.3") as third, web("127.0.0.2", third.port) as second:
        names = NameServer([["127.0.0.2", "127.0.0.4", "127.0.0.3"]])
        private = parse_networks("127.0.0.3/32, 127.0.0.4/32")  # nobody listens on the fourth
        async with guarded_client(bases(third.port), private, names) as client:
            assert (await client.get(f"http://files.example:{third.port}/a")).text == "hello"
        assert (second.connections, third.connections) == (0, 1)


async def test_an_address_written_into_the_allow_list_is_meant_so_and_no_name_gains_by_it() -> None:
    async with web("127.0.0.1") as served:
        names = NameServer([["127.0.0.1"]])
        async with guarded_client(bases(served.port), resolve=names) as client:
            assert (await client.get(f"http://127.0.0.1:{served.port}/a")).text == "hello"
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://files.example:{served.port}/a")
        assert served.connections == 1


async def test_a_redirect_is_a_request_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    async with web("127.0.0.1") as served, web("127.0.0.2") as inside:
        served.answer = (
            f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{inside.port}/secret\r\nContent-Length: 0\r\n\r\n"
        )
        async with guarded_client(bases(served.port)) as client:
            with pytest.raises(httpx.TransportError, match="is not an upstream of this proxy"):
                await client.get(f"http://127.0.0.1:{served.port}/a", follow_redirects=True)
        assert (served.connections, inside.connections) == (1, 0)


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web("127.0.0.1") as served, web("127.0.0.2") as stranger:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.2:{stranger.port}")
        async with guarded_client(bases(served.port)) as client:
            assert (await client.get(f"http://127.0.0.1:{served.port}/a")).text == "hello"
        assert stranger.connections == 0


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `name`, and a client's that trusts just that."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    return server, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())


async def test_tls_and_host_see_the_name_though_the_address_was_chosen_here(tmp_path: Path) -> None:
    tls, trust = certificate(tmp_path, "files.example")
    seen: list[str | None] = []
    tls.sni_callback = lambda _, name, __: seen.append(name)
    async with web("127.0.0.1", tls=tls) as served:
        names = NameServer([["127.0.0.1"]])
        private = parse_networks("127.0.0.0/8")
        async with guarded_client(bases(served.port, "https"), private, names, trust) as client:
            assert (await client.get(f"https://files.example:{served.port}/a")).text == "hello"
        assert seen == ["files.example"]
        assert f"host: files.example:{served.port}" in served.heads[0].lower()


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    tls, trust = certificate(tmp_path, "other.example")
    async with web("127.0.0.1", tls=tls) as served:
        names, private = NameServer([["127.0.0.1"]]), parse_networks("127.0.0.0/8")
        async with guarded_client(bases(served.port, "https"), private, names, trust) as client:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await client.get(f"https://files.example:{served.port}/a")
        assert served.heads == []


async def test_a_cookie_is_neither_kept_nor_shown_to_anybody() -> None:
    async with web("127.0.0.1") as served, web("127.0.0.1") as other:
        served.answer = served.answer.replace("\r\n\r\n", "\r\nSet-Cookie: sid=of-one-device; Path=/\r\n\r\n")
        both = bases(served.port) + bases(other.port)
        async with guarded_client(both) as client:
            for port in (served.port, served.port, other.port):
                await client.get(f"http://127.0.0.1:{port}/a")
            assert len(client.cookies.jar) == 0
        assert [head for head in served.heads + other.heads if "cookie" in head.lower()] == []


async def test_a_name_in_ascii_form_is_asked_for_as_it_is_written() -> None:
    # The resolver would make another name of its Unicode form: IDNA2003 has no sharp s.
    names = NameServer([[]])
    async with guarded_client(uris.parse_bases("http://xn--strae-oqa.example/"), resolve=names) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://xn--strae-oqa.example/a")
    assert names.asked == ["xn--strae-oqa.example"]


async def test_coap_upstreams_are_resolved_and_judged_alike() -> None:
    allowed = uris.parse_bases("coap://sensor.example:5683/, coap://[::1]:5684/")
    good, bad = NameServer([["2606:4700::1111"]]), NameServer([["::ffff:169.254.169.254"]])
    assert await resolve_checked("Sensor.example.", 5683, allowed, resolve=good) == ("2606:4700::1111", 5683)
    assert await resolve_checked("::1", 5684, allowed, resolve=good) == ("::1", 5684)
    for host, port, names in (("sensor.example", 5683, bad), ("sensor.example", 5684, good), ("::1", 5683, good)):
        with pytest.raises(ForbiddenAddress):
            await resolve_checked(host, port, allowed, resolve=names)


async def test_a_name_without_an_address_is_refused_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    async with guarded_client(bases(80), resolve=NameServer([[]])) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://files.example:80/a")
    assert "refused to connect to files.example: no address" in caplog.text
