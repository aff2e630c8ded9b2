"""The suite the strangers meet, started once: every service, no software devices, and two real releases."""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from updraft_local import firmware
from updraft_local.firmware import Firmware
from updraft_local.management import Management
from updraft_local.suite import Options, Suite

# Helpers beside the tests are importable.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    """Zephyr builds signed under a key of this run."""
    return firmware.prepare(tmp_path_factory.mktemp("firmware"))


@pytest.fixture(scope="session")
def suite(bench: Firmware) -> Iterator[Suite]:
    """The running suite; DDI devices are told to poll every two seconds."""
    # Not below pytest's own folder: every pytest that starts closes that to PostgreSQL's user.
    with TemporaryDirectory(prefix="updraft-interop-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPDATE_MANAGER_POLL_INTERVAL_SECONDS", "2")
        made = Suite(Options(Path(folder), bench, devices=0, frontend=False, durable=False))
        try:
            made.start(fleet=False)
            yield made
            made.require_alive()
        finally:
            made.stop()


@pytest.fixture(scope="session")
def manager(suite: Suite, bench: Firmware) -> Iterator[Management]:
    """An operator of the suite, whose product trusts the key."""
    made = suite.management()
    made.product(firmware.PRODUCT_KEY, firmware.PRODUCT_NAME, bench.public_keys)
    yield made
    made.close()


@pytest.fixture(scope="session")
def old_release(manager: Management, bench: Firmware) -> dict[str, Any]:
    """The release devices come with."""
    return manager.publish(bench.old, firmware.PRODUCT_KEY)


@pytest.fixture(scope="session")
def new_release(manager: Management, bench: Firmware) -> dict[str, Any]:
    """The release they are to get."""
    return manager.publish(bench.new, firmware.PRODUCT_KEY)
