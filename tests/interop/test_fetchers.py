"""Six CoAP clients by others fetch real firmware from the proxy, each by ticket, by reverse path and by Proxy-Uri."""

import hashlib
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from alone import REVERSE_PREFIX, Alone, alone
from fetchers import FETCHERS, Asked

from updraft_local.firmware import Firmware
from updraft_local.ports import free_port
from updraft_local.processes import Process, python

IMAGE = "zephyr.signed.bin"


@pytest.fixture(scope="module")
def proxy(bench: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """The proxy in front of a folder with one real image."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "files").mkdir()
    shutil.copy(bench.new, folder / "files" / IMAGE)
    with alone(folder, folder / "files") as running:
        yield running


@pytest.fixture(scope="module")
def coap_proxy(bench: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Alone, str]]:
    """A proxy that may ask aiocoap's file server, and the URI of that."""
    folder, port = tmp_path_factory.mktemp("coap-server"), free_port(socket.SOCK_DGRAM)
    (folder / "files").mkdir()
    shutil.copy(bench.new, folder / "files" / IMAGE)
    uri = f"coap://127.0.0.1:{port}"
    command = python("-m", "aiocoap.cli.fileserver", "--bind", f"127.0.0.1:{port}", str(folder / "files"))
    server = Process("files", command, {}, folder / "files.log")
    server.start()
    try:
        with alone(folder, folder / "files", ALLOWED_UPSTREAMS=f"{uri}/") as running:
            yield running, uri
        server.require_alive()
    finally:
        server.stop()


@pytest.fixture
def image(bench: Firmware) -> bytes:
    """What everybody has to get."""
    return bench.new.read_bytes()


@pytest.mark.parametrize("name", FETCHERS)
def test_firmware_by_ticket_is_byte_equal(name: str, proxy: Alone, image: bytes, tmp_path: Path) -> None:
    assert FETCHERS[name](Asked(proxy.ticket(IMAGE)), tmp_path).body == image


@pytest.mark.rfc("7252 5.7.3")
@pytest.mark.parametrize("name", FETCHERS)
def test_firmware_by_reverse_path_is_byte_equal(name: str, proxy: Alone, image: bytes, tmp_path: Path) -> None:
    assert FETCHERS[name](Asked(f"{proxy.uri}/{REVERSE_PREFIX}/{IMAGE}"), tmp_path).body == image


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.rfc("7252 5.10.2")
@pytest.mark.parametrize("name", FETCHERS)
def test_firmware_by_proxy_uri_is_byte_equal(name: str, proxy: Alone, image: bytes, tmp_path: Path) -> None:
    asked = Asked(f"{proxy.web.url}/{IMAGE}", proxy=proxy.address)
    assert FETCHERS[name](asked, tmp_path).body == image


def test_nothing_but_the_configured_upstream_is_asked(proxy: Alone, image: bytes, tmp_path: Path) -> None:
    libcoap = FETCHERS["coap-client-notls"]
    as_zephyr = Asked(f"{proxy.uri}/coap2http", options=("-O", f"35,{proxy.web.url}/{IMAGE}"))
    assert libcoap(as_zephyr, tmp_path).body == image
    for uri, code in (
        (f"{proxy.web.url}/nothing-here.bin", "4.04"),
        (f"{proxy.web.url}/{IMAGE}".replace("127.0.0.1", "127.0.0.2"), "4.03"),
        ("http://169.254.169.254/latest/meta-data", "4.03"),
    ):
        said = libcoap(Asked(uri, proxy=proxy.address), tmp_path)
        assert said.text.startswith(code) and said.body == b"", said.text


@pytest.mark.rfc("7252 5.10.2")
def test_firmware_by_proxy_scheme_is_byte_equal(proxy: Alone, image: bytes, tmp_path: Path) -> None:
    asked = Asked(f"{proxy.web.url}/{IMAGE}", proxy=proxy.address, by_scheme=True)
    assert FETCHERS["californium"](asked, tmp_path).body == image


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.parametrize(("name", "by_scheme"), [*((name, False) for name in FETCHERS), ("aiocoap-client", True)])
def test_firmware_of_a_coap_server_is_byte_equal(
    name: str, by_scheme: bool, coap_proxy: tuple[Alone, str], image: bytes, tmp_path: Path
) -> None:
    proxy, server = coap_proxy
    asked = Asked(f"{server}/{IMAGE}", proxy=proxy.address, by_scheme=by_scheme)
    assert FETCHERS[name](asked, tmp_path).body == image


@pytest.mark.rfc("7252 5.10.6")
def test_client_that_has_the_image_is_told_that_it_is_valid(proxy: Alone, image: bytes, tmp_path: Path) -> None:
    libcoap, loud = FETCHERS["coap-client-notls"], ("-v", "7")
    uri = proxy.ticket(IMAGE)
    etag = hashlib.sha256(image).hexdigest()[:16]
    assert "2.05 i:" in (first := libcoap(Asked(uri, options=loud), tmp_path)).text
    assert f"ETag:0x{etag}" in first.text
    again = libcoap(Asked(uri, options=(*loud, "-O", f"4,0x{etag}")), tmp_path)
    assert "c:2.03" in again.text and "c:2.05" not in again.text
    other = libcoap(Asked(uri, options=(*loud, "-O", "4,0x0102030405060708")), tmp_path)
    assert other.body == image


@pytest.mark.rfc("7252 5.7.1")
@pytest.mark.rfc("7252 10.1.1")
def test_representation_that_has_aged_is_validated_upstream_and_not_fetched_again(proxy: Alone, tmp_path: Path) -> None:
    libcoap, loud = FETCHERS["coap-client-notls"], ("-v", "7")
    (proxy.files / "notice").write_bytes(b"come home")
    proxy.web.max_age = 0
    asked = Asked(f"{proxy.web.url}/notice", proxy=proxy.address, options=loud)
    bodies = [libcoap(asked, tmp_path).body for _ in range(3)]
    proxy.web.max_age = 60
    assert bodies == [b"come home"] * 3
    told = [tag for method, path, tag in proxy.web.asked if path == "/notice"]
    assert told[0] is None and len(told) == 3 and all(told[1:])


@pytest.mark.rfc("7959 2.5")
@pytest.mark.rfc("7252 10.1")
@pytest.mark.parametrize("method", ["put", "post"])
@pytest.mark.parametrize("name", FETCHERS)
def test_a_body_of_20_kb_arrives_whole(name: str, method: str, proxy: Alone, tmp_path: Path) -> None:
    body, path = tmp_path / "body", f"{name.replace(' ', '-')}-{method}"
    body.write_bytes(secrets.token_bytes(20_001))
    FETCHERS[name](Asked(f"{proxy.uri}/{REVERSE_PREFIX}/{path}", method=method, body=body), tmp_path)
    taken = [one for one in proxy.web.taken if one[1] == f"/{path}"]
    assert taken == [(method.upper(), f"/{path}", "application/octet-stream", body.read_bytes())]


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.parametrize("name", ["coap-client-notls", "californium", "npm coap"])
def test_a_body_sent_by_proxy_uri_arrives_whole(name: str, proxy: Alone, tmp_path: Path) -> None:
    body, path = tmp_path / "body", f"{name.replace(' ', '-')}-by-uri"
    body.write_bytes(secrets.token_bytes(20_001))
    FETCHERS[name](Asked(f"{proxy.web.url}/{path}", proxy=proxy.address, method="put", body=body), tmp_path)
    assert [one[3] for one in proxy.web.taken if one[1] == f"/{path}"] == [body.read_bytes()]


@pytest.mark.rfc("7252 4.2")
def test_datagram_that_is_lost_is_sent_again_and_changes_nothing(proxy: Alone, image: bytes, tmp_path: Path) -> None:
    libcoap = FETCHERS["coap-client-notls"]  # `-l` names the datagram it is to lose
    down = Asked(f"{proxy.uri}/{REVERSE_PREFIX}/{IMAGE}", options=("-l", "90"))
    assert libcoap(down, tmp_path).body == image
    body = tmp_path / "body"
    body.write_bytes(secrets.token_bytes(20_001))
    up = Asked(f"{proxy.uri}/{REVERSE_PREFIX}/lossy", method="post", body=body, options=("-l", "20"))
    libcoap(up, tmp_path)
    assert [one[3] for one in proxy.web.taken if one[1] == "/lossy"] == [body.read_bytes()]
