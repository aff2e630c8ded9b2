"""Six CoAP clients by others fetch real firmware from the proxy, each by ticket and by Proxy-Uri."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alone import Alone, alone
from fetchers import FETCHERS, Asked

from updraft_local.firmware import Firmware

IMAGE = "zephyr.signed.bin"


@pytest.fixture(scope="module")
def proxy(bench: Firmware, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """The proxy in front of a folder with one real image."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "files").mkdir()
    shutil.copy(bench.new, folder / "files" / IMAGE)
    with alone(folder, folder / "files") as running:
        yield running


@pytest.fixture
def image(bench: Firmware) -> bytes:
    """What everybody has to get."""
    return bench.new.read_bytes()


@pytest.mark.parametrize("name", FETCHERS)
def test_firmware_by_ticket_is_byte_equal(name: str, proxy: Alone, image: bytes, tmp_path: Path) -> None:
    assert FETCHERS[name](Asked(proxy.ticket(IMAGE)), tmp_path).body == image


@pytest.mark.rfc("7252 5.7.2")
@pytest.mark.rfc("7252 5.10.2")
@pytest.mark.parametrize("name", FETCHERS)
def test_firmware_by_proxy_uri_is_byte_equal(name: str, proxy: Alone, image: bytes, tmp_path: Path) -> None:
    asked = Asked(f"{proxy.web.url}/{IMAGE}", proxy=proxy.address)
    assert FETCHERS[name](asked, tmp_path).body == image
