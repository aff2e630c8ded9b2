"""HTTP clients of the proxy, libcoap's coap-server behind it: what is put over HTTP is got back byte-equal."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from strangers import Stranger, program

from updraft_local.ports import free_port
from updraft_local.processes import Process, answers, python

FIRMWARE = os.urandom(70_001)


@pytest.fixture(params=["good line", "lossy line"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """`coap://HOST:PORT` of libcoap's server, which forgets to send some datagrams on a lossy line."""
    port = free_port(socket.SOCK_DGRAM)
    server = program("coap-server-notls", "coap-server", "coap-server-openssl", "coap-server-gnutls")
    # The third datagram, then every now and then one: enough for repeats, not for minutes of waiting.
    loss = ["-l", "3,40,90"] if request.param == "lossy line" else []
    with Stranger([server, "-A", "127.0.0.1", "-p", str(port), "-d", "20", *loss], tmp_path, {}):
        yield f"coap://127.0.0.1:{port}"


@pytest.fixture
def http(device: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the proxy, which runs alone, as its command line starts it."""
    face, health, coap = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
    command = python("-m", "coap_http_proxy")
    command += ["--no-redis", "--allow", f"{device}/", "--cache", str(tmp_path / "blocks")]
    command += ["--http-to-coap", str(face), "--http", str(health), "--coap", str(coap)]
    proxy = Process("proxy", command, {}, tmp_path / "proxy.log", healthy=lambda: answers(health))
    proxy.start()
    try:
        proxy.wait_healthy()
        with httpx.Client(base_url=f"http://127.0.0.1:{face}", timeout=60) as client:
            yield client
    finally:
        proxy.stop()


def test_what_is_put_over_http_is_got_back_byte_equal(http: httpx.Client, device: str) -> None:
    made = http.put(f"/hc/{device}/fw", content=FIRMWARE, headers={"Content-Type": "application/octet-stream"})
    assert made.status_code == 201, made.text
    got = http.get(f"/hc?target_uri={device}/fw")
    assert got.content == FIRMWARE
    assert got.headers["content-type"] == "application/octet-stream"
    host_and_port = device.removeprefix("coap://")
    assert http.get(f"/hc?s=coap&hp={host_and_port}&p=/fw&q=").content == FIRMWARE
    assert http.put(f"/hc/{device}/fw", content=b"{}").status_code == 204
    assert http.get(f"/hc/{device}/fw").content == b"{}"
    assert http.delete(f"/hc/{device}/fw").status_code == 204
    assert http.get(f"/hc/{device}/fw").status_code == 404


def test_a_device_that_takes_its_time_is_waited_for(http: httpx.Client, device: str) -> None:
    got = http.get(f"/hc/{device}/async?2")
    assert (got.status_code, got.text) == (200, "done")


def test_the_devices_own_directory_is_shown(http: httpx.Client, device: str) -> None:
    got = http.get(f"/hc/{device}/.well-known/core")
    assert got.headers["content-type"] == "application/link-format"
    assert "</time>" in got.text


def test_a_copy_that_is_still_good_is_not_fetched_again(http: httpx.Client, device: str) -> None:
    http.put(f"/hc/{device}/etag", content=FIRMWARE)
    got = http.get(f"/hc/{device}/etag")
    assert got.content == FIRMWARE
    again = http.get(f"/hc/{device}/etag", headers={"If-None-Match": got.headers["etag"]})
    # libcoap gives its blocks an ETag and may or may not compare one that it is shown: both answers are right.
    assert again.status_code == 304 or again.content == FIRMWARE


def test_other_devices_are_not_asked(http: httpx.Client) -> None:
    assert http.get("/hc/coap://127.0.0.1:5683/time").status_code == 403
