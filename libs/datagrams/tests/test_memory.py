"""The compiled part under AddressSanitizer and UndefinedBehaviorSanitizer: hostile datagrams touch no foreign byte."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """batch_driver.c with sanitizers; warnings are errors here."""
    built = tmp_path_factory.mktemp("driver") / "batch_driver"
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror", *SANITIZERS)
    subprocess.run(["cc", *flags, "-o", str(built), str(HERE / "batch_driver.c")], check=True, timeout=120)
    return built


def drive(driver: Path, *arguments: int) -> "subprocess.CompletedProcess[str]":
    """One run."""
    command = [str(driver), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_and_spoilt_datagrams_leave_memory_alone(driver: Path, seed: int) -> None:
    done = drive(driver, seed, 100_000)
    assert (done.returncode, done.stderr) == (0, "")
    answered, _, blocks = done.stdout.split()[:3]
    assert int(answered) > 10_000 and int(blocks) > int(answered), "most requests of the driver ask for nothing"


def test_a_read_beyond_the_end_would_be_found(driver: Path) -> None:
    done = drive(driver, 1, 100_000, 1)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr and "batch_answer" in done.stderr
