"""docker-compose.yml running for real, once for all tests of this folder; logs on failure, torn down always."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.capture import CaptureManager

sys.path.insert(0, str(Path(__file__).parent))

from engine import PROJECT, SERVICES, Engine, EngineFailed, find
from fleet import Fleet


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine of this machine; a machine without one fails."""
    return find()


@pytest.fixture(scope="session")
def fleet(engine: Engine, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The whole suite with the `demo` profile's devices, from a fresh .env, on free ports."""
    made = Fleet(engine, tmp_path_factory.mktemp("compose"))
    engine.down(volumes=True)  # what a killed run may have left
    try:
        try:
            engine.build()
            engine.up()
        except EngineFailed:
            _show_logs(engine, request.config)
            raise
        yield made
        if request.session.testsfailed:
            _show_logs(engine, request.config)
    finally:
        made.close()
        engine.down(volumes=True)
        left = engine.engine("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
        assert not left.strip(), f"left behind: {left}"


def _show_logs(engine: Engine, config: pytest.Config) -> None:
    """On the terminal itself: what a fixture says while it ends is shown by no report."""
    capture = config.pluginmanager.getplugin("capturemanager")
    assert isinstance(capture, CaptureManager)
    with capture.global_and_fixture_disabled():
        for service in (*SERVICES, "migrate", "firmware"):
            try:
                words = f"{engine.state(service)}, restarted {engine.restarts(service)} times\n{engine.logs(service)}"
            except EngineFailed as error:
                words = str(error)
            sys.stdout.write(f"\n--- {service} {words}\n")
