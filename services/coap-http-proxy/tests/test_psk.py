"""Keys of DTLS identities: from a file that others cannot read, and from Redis."""

import json
from pathlib import Path

import pytest
import redis.asyncio as redis

from coap_http_proxy.psk import BadKeys, ClientKey, Keys, parse_keys, parse_upstream_keys, read_keys, read_upstream_keys
from dtls import Psk

KEY = "000102030405060708090a0b0c0d0e0f"
LINES = f"# devices\n\nurn:dev:1 {KEY}\nsensor   {KEY.upper()}  controller-7\n"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_file_names_identities_keys_and_controllers(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(LINES)
    path.chmod(mode)
    key = bytes.fromhex(KEY)
    assert read_keys(path) == {"urn:dev:1": Psk(key), "sensor": Psk(key, "controller-7")}


def test_no_file_no_keys() -> None:
    assert read_keys(None) == {}


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601])
def test_file_others_may_open_is_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(LINES)
    path.chmod(mode)
    with pytest.raises(BadKeys, match="open to every user"):
        read_keys(path)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match="cannot be read"):
        read_keys(tmp_path / "nothing")


@pytest.mark.parametrize(
    "line",
    [
        "identity",
        f"identity {KEY} controller more",
        f"identity {KEY[:30]}",
        "identity " + "00" * 65,
        f"identity {KEY[:-1]}",
        f"identity {KEY[:-2]}zz",
        f"{'x' * 129} {KEY}",
        f"identity\x07 {KEY}",
        f"first {KEY}",
    ],
)
def test_line_that_is_wrong_is_named_by_number_and_its_key_is_not_told(line: str) -> None:
    with pytest.raises(BadKeys, match="line 2") as refused:
        parse_keys(f"first {KEY}\n{line}\n")
    assert KEY[:12] not in str(refused.value)


async def test_key_is_found_in_the_file_first_and_then_in_redis(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    await client.set("updraft:psk:device", json.dumps({"key": KEY, "controllerId": "controller"}))
    await client.set("updraft:psk:open", json.dumps({"key": KEY}))
    await client.set("updraft:psk:fixed", json.dumps({"key": "ff" * 16}))
    keys = Keys({"fixed": Psk(b"f" * 16)}, client)
    found = await keys.find(["device", "open", "fixed", "nobody"])
    assert found == [Psk(bytes.fromhex(KEY), "controller"), Psk(bytes.fromhex(KEY)), Psk(b"f" * 16), None]
    assert await Keys({}, None).find(["device"]) == [None]
    await client.aclose()


@pytest.mark.parametrize(
    "record", ["", "no json", "[]", "{}", '{"key": 5}', '{"key": "00"}', '{"key": null}', '"x"'], ids=str
)
async def test_record_in_redis_that_is_no_key_is_none(record: str, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    await client.set("updraft:psk:odd", record)
    assert await Keys({}, client).find(["odd"]) == [None]
    await client.aclose()


def test_keys_are_never_printed() -> None:
    psk = Psk(bytes.fromhex(KEY), "controller")
    printed = f"{psk} {psk!r} {Keys({'device': psk}, None)!r}"
    assert KEY not in printed
    assert str(psk.key) not in printed


def test_keys_of_upstreams_go_by_host_and_port(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\nFiles.example:5684 proxy {KEY}\n192.0.2.1:7 proxy-2 {KEY}\n")
    path.chmod(0o600)
    key = bytes.fromhex(KEY)
    assert read_upstream_keys(path) == {
        ("files.example", 5684): ClientKey("proxy", key),
        ("192.0.2.1", 7): ClientKey("proxy-2", key),
    }
    assert KEY not in repr(read_upstream_keys(path))
    assert read_upstream_keys(None) == {}
    path.chmod(0o644)
    with pytest.raises(BadKeys, match="open to every user"):
        read_upstream_keys(path)


@pytest.mark.parametrize(
    "line", [f"files.example proxy {KEY}", f":5684 proxy {KEY}", f"files.example:x proxy {KEY}", "a:1 proxy 00", "a:1"]
)
def test_line_of_an_upstream_that_is_wrong_is_named_by_number(line: str) -> None:
    with pytest.raises(BadKeys, match="line 1") as refused:
        parse_upstream_keys(line)
    assert KEY not in str(refused.value)
