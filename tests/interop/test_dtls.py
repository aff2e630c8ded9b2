"""libcoap over DTLS with GnuTLS and with OpenSSL: its clients fetch real firmware, its servers are asked."""

import json
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from alone import Alone, alone
from fetchers import FETCHERS, Asked, Said
from strangers import program

from updraft_local.firmware import Firmware
from updraft_local.ports import free_port
from updraft_local.processes import Process

IMAGE = "zephyr.signed.bin"
CLIENTS = ("coap-client-gnutls", "coap-client-openssl")
CLIENT_SECONDS = 60
FILE_KEY = "a-key-from-the-file"

both = pytest.mark.parametrize("client", CLIENTS)
both_servers = pytest.mark.parametrize("server", ["coap-server-gnutls", "coap-server-openssl"])


class Secure:
    """The proxy with a `coaps` port, and those who keep its keys and tickets."""

    def __init__(self, running: Alone, port: int, store: "redis.Redis") -> None:
        self.running, self.port, self.store = running, port, store

    @property
    def uri(self) -> str:
        """The proxy's coaps URI without a path."""
        return f"coaps://127.0.0.1:{self.port}"

    def device(self, controller: str | None = None) -> tuple[str, str]:
        """A new identity and its key, in Redis as docs/contracts.md has it."""
        identity, key = f"urn:dev:{secrets.token_hex(6)}", secrets.token_urlsafe(18)
        record = {"key": key.encode().hex()} | ({} if controller is None else {"controllerId": controller})
        self.store.set(f"updraft:psk:{identity}", json.dumps(record), ex=600)
        return identity, key

    def ticket(self, identity: str | None = None) -> str:
        """The path of a new ticket for the image of controller `stranger`, bound to an identity or not."""
        path = self.running.ticket(IMAGE).removeprefix(self.running.uri)
        if identity is not None:
            name = f"updraft:ticket:{path.split('/')[2]}"
            record = json.loads(str(self.store.get(name)))
            self.store.set(name, json.dumps(record | {"identity": identity}), keepttl=True)
        return path


@pytest.fixture(scope="module")
def proxy(bench: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """The proxy in front of a folder with one real image; one key is in its file, others are in Redis."""
    folder, port = tmp_path_factory.mktemp("dtls"), free_port(socket.SOCK_DGRAM)
    (folder / "files").mkdir()
    shutil.copy(bench.new, folder / "files" / IMAGE)
    keys = folder / "keys"
    keys.write_text(f"from-the-file {FILE_KEY.encode().hex()}\n")
    keys.chmod(0o600)
    with (
        alone(folder, folder / "files", DTLS_PORT=str(port), PSK_FILE=str(keys)) as running,
        redis.Redis.from_url(running.proxy.redis.url, socket_timeout=5, decode_responses=True) as store,
    ):
        yield Secure(running, port, store)


@pytest.fixture
def image(bench: Firmware) -> bytes:
    """What everybody has to get."""
    return bench.new.read_bytes()


def fetch(client: str, identity: str, key: str, uri: str, folder: Path, *more: str, wait: int = 50) -> Said:
    """Run one of libcoap's clients to its end."""
    target = folder / secrets.token_hex(8)
    command = [program(client), "-B", str(wait), "-o", str(target), "-u", identity, "-k", key, *more, uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False)
    return Said(target.read_bytes() if target.exists() else b"", done.stdout + done.stderr)


@both
@pytest.mark.parametrize("size", [None, 64, 256, 1024])
@pytest.mark.parametrize("naming", [(), ("-U",)], ids=["naming-the-port", "as-zephyr-asks"])
def test_firmware_arrives_byte_equal_over_dtls(
    client: str, size: int | None, naming: tuple[str, ...], proxy: Secure, image: bytes, tmp_path: Path
) -> None:
    identity, key = proxy.device()
    sizes = () if size is None else ("-b", str(size))
    uri = proxy.uri + proxy.ticket(identity)
    assert fetch(client, identity, key, uri, tmp_path, *naming, *sizes).body == image


@both
def test_key_of_the_file_serves_too(client: str, proxy: Secure, image: bytes, tmp_path: Path) -> None:
    uri = proxy.uri + proxy.ticket("from-the-file")
    assert fetch(client, "from-the-file", FILE_KEY, uri, tmp_path, "-b", "1024").body == image


@both
def test_ticket_of_another_identity_or_controller_does_not_exist(
    client: str, proxy: Secure, image: bytes, tmp_path: Path
) -> None:
    owner, other, foreign = proxy.device("stranger"), proxy.device(), proxy.device("somebody-else")
    bound, free = proxy.uri + proxy.ticket(owner[0]), proxy.uri + proxy.ticket()
    assert fetch(client, *owner, bound, tmp_path, "-b", "1024").body == image
    for device, uri in ((other, bound), (foreign, free)):
        said = fetch(client, *device, uri, tmp_path)
        unknown = fetch(client, *device, f"{proxy.uri}/f/AAAAAAAAAAAA/fw.bin", tmp_path)
        assert said.text.startswith("4.04"), said.text
        assert (said.body, said.text) == (unknown.body, unknown.text)
    assert fetch(client, *owner, free, tmp_path, "-b", "1024").body == image


@both
def test_bound_ticket_does_not_exist_without_dtls(client: str, proxy: Secure, image: bytes, tmp_path: Path) -> None:
    identity, key = proxy.device()
    path = proxy.ticket(identity)
    for _ in range(2):  # before its blocks lie ready, and after
        said = fetch(client, identity, key, proxy.running.uri + path, tmp_path, "-U", "-b", "1024")
        assert said.text.startswith("4.04"), said.text
        assert fetch(client, identity, key, proxy.uri + path, tmp_path, "-U", "-b", "1024").body == image


@both
def test_wrong_key_and_unknown_identity_get_neither_a_session_nor_a_word(
    client: str, proxy: Secure, tmp_path: Path
) -> None:
    identity, _ = proxy.device()
    uri = proxy.uri + proxy.ticket()
    wrong = fetch(client, identity, "not-the-key-of-it", uri, tmp_path, wait=3)
    unknown = fetch(client, "urn:dev:nobody", "not-the-key-of-it", uri, tmp_path, wait=3)
    assert wrong.body == unknown.body == b""
    for said in (wrong, unknown):
        assert "2.05" not in said.text
        assert "4.0" not in said.text
    # What they see of it does not tell one from the other; the times in front do not count.
    seen = [re.sub(r"^.*\d\d:\d\d:\d\d\S* ", "", said.text, flags=re.MULTILINE) for said in (wrong, unknown)]
    assert seen[0] == seen[1]


def test_crowd_of_both_kinds_downloads_at_once(proxy: Secure, image: bytes, tmp_path: Path) -> None:
    def download(number: int) -> bytes:
        identity, key = proxy.device()
        uri = proxy.uri + proxy.ticket(identity)
        return fetch(CLIENTS[number % 2], identity, key, uri, tmp_path, "-U", "-b", "1024").body

    with ThreadPoolExecutor(12) as crowd:
        assert set(crowd.map(download, range(24))) == {image}


def test_of_several_workers_one_speaks_dtls_and_all_are_counted(bench: Firmware, image: bytes, tmp_path: Path) -> None:
    port, keys = free_port(socket.SOCK_DGRAM), tmp_path / "keys"
    keys.write_text(f"from-the-file {FILE_KEY.encode().hex()}\n")
    keys.chmod(0o600)
    (tmp_path / "files").mkdir()
    shutil.copy(bench.new, tmp_path / "files" / IMAGE)
    with alone(tmp_path, tmp_path / "files", WORKERS="2", DTLS_PORT=str(port), PSK_FILE=str(keys)) as running:
        uri = f"coaps://127.0.0.1:{port}" + running.ticket(IMAGE).removeprefix(running.uri)
        for client in CLIENTS:
            assert fetch(client, "from-the-file", FILE_KEY, uri, tmp_path, "-U", "-b", "1024").body == image
        counted = running.proxy.stats()
        assert counted["dtlsOpened"] == len(CLIENTS)
        assert counted["bytesOnAir"] == len(image) * len(CLIENTS)


@both_servers
def test_coaps_upstream_is_asked_with_a_key_for_it_alone(server: str, tmp_path: Path) -> None:
    port, key = free_port(socket.SOCK_DGRAM), "the-key-of-the-proxy"
    command = [program(server), "-A", "127.0.0.1", "-p", str(port), "-k", key, "-d", "10"]
    process = Process("coap-server", command, {}, tmp_path / "server.log")
    at = f"127.0.0.1:{port + 1}"  # libcoap listens for DTLS one port further on
    keys = tmp_path / "keys"
    keys.write_text(f"{at} proxy {key.encode().hex()}\n")
    keys.chmod(0o600)
    (tmp_path / "files").mkdir()
    body = tmp_path / "body"
    body.write_bytes(secrets.token_bytes(20_000))
    process.start()
    try:
        settings = {"ALLOWED_UPSTREAMS": f"coaps://{at}/", "UPSTREAM_PSK_FILE": str(keys)}
        with alone(tmp_path, tmp_path / "files", **settings) as running:
            for method, given in (("put", body), ("get", None)):
                asked = Asked(f"coaps://{at}/kept", running.address, method=method, body=given)
                said = FETCHERS["coap-client-notls"](asked, tmp_path)
            assert said.body == body.read_bytes()
        process.require_alive()
    finally:
        process.stop()
