"""libcoap's coap-client against the block proxy: whole images, single blocks, Proxy-Uri, and every refusal."""

import json
import secrets
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from strangers import program

from updraft_local.firmware import Firmware
from updraft_local.management import Management
from updraft_local.suite import Suite

CLIENT_SECONDS = 30


@dataclass(frozen=True)
class Said:
    """What coap-client wrote: the body into its file, a refusal's code and diagnostic onto standard error."""

    body: bytes
    text: str


Fetch = Callable[..., Said]


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Run coap-client with these options; it must end by itself."""
    client = program("coap-client-notls", "coap-client", "coap-client-openssl", "coap-client-gnutls")

    def run(*options: str) -> Said:
        target = tmp_path / secrets.token_hex(8)
        done = subprocess.run(
            [client, "-B", str(CLIENT_SECONDS - 5), "-o", str(target), *options],
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=True,
        )
        return Said(target.read_bytes() if target.exists() else b"", done.stdout + done.stderr)

    return run


Ticket = Callable[[dict[str, Any], str], str]


@pytest.fixture
def ticket(suite: Suite, manager: Management) -> Ticket:
    """Does what the gateway does for a device: an action, a ticket in Redis (docs/contracts.md), the Package URI."""

    def mint(release: dict[str, Any], controller: str) -> str:
        manager.post("/targets", [{"controllerId": controller}])
        set_id = release["distributionSetId"]
        manager.post(f"/targets/{controller}/assignedDS", {"id": set_id})
        (module,) = manager.get(f"/distributionsets/{set_id}")["modules"]
        artifact, token = release["artifact"], secrets.token_urlsafe(9)
        record = {
            "url": f"{suite.api_url}/DEFAULT/controller/v1/{controller}/softwaremodules/{module['id']}"
            f"/artifacts/{artifact['filename']}",
            "sha256": artifact["sha256"],
            "size": artifact["size"],
            "controllerId": controller,
            "tenant": "DEFAULT",
            "actionId": None,
            "name": "fw.bin",
        }
        assert suite.redis is not None
        with redis.Redis.from_url(suite.redis.url, socket_timeout=5) as store:
            store.set(f"updraft:ticket:{token}", json.dumps(record), ex=600)
        return f"{suite.proxy_uri}/f/{token}/fw.bin"

    return mint


@pytest.fixture
def package_uri(ticket: Ticket, new_release: dict[str, Any]) -> str:
    """A ticket of a device of its own."""
    return ticket(new_release, f"libcoap-{secrets.token_hex(4)}")


# libcoap names the port it talks to (Uri-Port), which takes the proxy's long way; without (-U) it asks as Zephyr does
# and gets the blocks that lie ready. Both have to be right.
@pytest.mark.parametrize("naming", [(), ("-U",)], ids=["naming-the-port", "as-zephyr-asks"])
@pytest.mark.parametrize("size", [None, 16, 64, 256, 512, 1024])
def test_whole_image_by_ticket_is_byte_equal_at_every_block_size(
    fetch: Fetch, package_uri: str, bench: Firmware, size: int | None, naming: tuple[str, ...]
) -> None:
    options = [] if size is None else ["-b", str(size)]
    assert fetch(*naming, *options, package_uri).body == bench.new.read_bytes()


def test_download_that_begins_in_the_middle_goes_on_to_the_end_block_by_block(
    fetch: Fetch, package_uri: str, bench: Firmware
) -> None:
    # libcoap 4.3.1 asked for a block other than the first fetches that one: so every block is a client of its own.
    image, size = bench.new.read_bytes(), 1024
    first = len(image) // 2 // size
    blocks = [fetch("-b", f"{number},{size}", package_uri).body for number in range(first, -(-len(image) // size))]
    assert len(blocks) > 50
    assert b"".join(blocks) == image[first * size :]


def test_client_may_change_the_block_size_in_the_middle(fetch: Fetch, package_uri: str, bench: Firmware) -> None:
    image = bench.new.read_bytes()
    for number, size in ((3, 1024), (12, 256), (97, 64), (1500, 16)):
        for naming in ((), ("-U",), ("-U",)):  # the first that asks without a port opens the short way for the next
            said = fetch(*naming, "-b", f"{number},{size}", package_uri)
            assert said.body == image[number * size : (number + 1) * size]


def test_package_uri_in_proxy_uri_is_served_as_zephyrs_proxy_build_asks(
    suite: Suite, fetch: Fetch, package_uri: str, bench: Firmware
) -> None:
    image = bench.new.read_bytes()
    assert fetch("-b", "512", "-P", suite.proxy_uri, package_uri).body == image
    # Zephyr puts the name of the mapping into Uri-Path, and what it wants into Proxy-Uri (option 35).
    assert fetch("-b", "512", "-O", f"35,{package_uri}", f"{suite.proxy_uri}/coap2coap").body == image
    as_http = package_uri.replace("coap://", "http://")
    assert fetch("-b", "512", "-O", f"35,{as_http}", f"{suite.proxy_uri}/coap2http").body == image


def test_many_clients_at_once_cost_one_upstream_fetch(
    suite: Suite, fetch: Fetch, ticket: Ticket, old_release: dict[str, Any], bench: Firmware
) -> None:
    # Nobody asked for this artifact before: the proxy has to get it first, and everybody has to wait for it.
    uris = [ticket(old_release, f"libcoap-crowd-{number}") for number in range(8)]
    before = suite.proxy_stats()
    with ThreadPoolExecutor(len(uris)) as crowd:
        bodies = list(crowd.map(lambda uri: fetch("-U", "-b", "1024", uri).body, uris))
    after = suite.proxy_stats()
    image = bench.old.read_bytes()
    assert [body == image for body in bodies] == [True] * len(uris)
    assert after["upstreamRequests"] - before["upstreamRequests"] == 1
    assert after["upstreamBytes"] - before["upstreamBytes"] == len(image)
    assert after["bytesOnAir"] - before["bytesOnAir"] == len(image) * len(uris)


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("http://169.254.169.254/latest/meta-data", "4.03"),
        ("http://127.0.0.1:9/", "4.03"),
        ("http://localhost.example/", "4.03"),
        ("coap://192.0.2.1/firmware", "4.03"),
        ("ftp://127.0.0.1/firmware", "5.05"),
        ("http://someone@{api}/", "4.00"),
        ("http://{api}/DEFAULT/../../etc/passwd", "4.00"),
        ("firmware", "4.00"),
    ],
)
def test_proxy_uri_to_a_host_that_is_not_allowed_is_refused(suite: Suite, fetch: Fetch, uri: str, code: str) -> None:
    before = suite.proxy_stats()
    uri = uri.replace("{api}", suite.api_url.removeprefix("http://"))
    said = fetch("-O", f"35,{uri}", f"{suite.proxy_uri}/coap2http")
    assert said.text.startswith(code), said.text
    assert said.body == b""
    assert suite.proxy_stats()["upstreamRequests"] == before["upstreamRequests"]


def test_stranger_gets_nothing_of_the_update_manager_with_the_proxys_own_authority(
    suite: Suite, manager: Management, fetch: Fetch
) -> None:
    # The update manager is an allowed upstream, and the proxy holds a gateway's token, which may make any device known.
    said = fetch("-P", suite.proxy_uri, f"{suite.api_url}/DEFAULT/controller/v1/libcoap-intruder")
    assert said.text.startswith("4.01"), said.text
    assert manager.get("/targets", q="controllerId==libcoap-intruder")["total"] == 0


def test_refusals_say_why(suite: Suite, fetch: Fetch, package_uri: str, bench: Firmware) -> None:
    past_the_end = -(-bench.new.stat().st_size // 1024)
    for options, code, word in (
        ([f"{suite.proxy_uri}/f/AAAAAAAAAAAA/fw.bin"], "4.04", "ticket"),
        ([f"{suite.proxy_uri}/f/short/fw.bin"], "4.04", "resource"),
        (["-b", f"{past_the_end},1024", package_uri], "4.00", "past the end"),
        (["-b", "1048575,1024", package_uri], "4.00", "past the end"),
        (["-m", "put", "-e", "x", package_uri], "4.05", "GET"),
        (["-A", "application/json", package_uri], "4.06", "50"),
        (["-O", "9,x", package_uri], "4.02", "critical"),
    ):
        said = fetch(*options)
        assert said.text.startswith(code), (options, said.text)
        assert word in said.text
        assert said.body == b""


def test_directory_says_what_there_is(suite: Suite, fetch: Fetch) -> None:
    listed = fetch(f"{suite.proxy_uri}/.well-known/core").body.decode()
    assert '</f>;rt="firmware"' in listed
    assert "</coap2http>" in listed
