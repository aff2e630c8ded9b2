"""The application for real boards, as far as it can be judged without Zephyr or a compiler."""

import re
import subprocess
from pathlib import Path

import kconfig
import pytest
import yaml

FRAGMENTS = sorted(kconfig.APPLICATION.rglob("*.conf"))
SOURCES = sorted(kconfig.APPLICATION.glob("src/*.[ch]"))


def tree() -> list[Path]:
    """Every file below firmware/zephyr that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    listed = subprocess.run(command, cwd=kconfig.ZEPHYR, capture_output=True, text=True, check=True, timeout=30)
    return [path for line in listed.stdout.split() if (path := kconfig.ZEPHYR / line).is_file()]


def mentioned() -> set[str]:
    texts = [*FRAGMENTS, *SOURCES, kconfig.APPLICATION / "sample.yaml", kconfig.APPLICATION / "sysbuild.cmake"]
    return set().union(*(kconfig.used(path.read_text()) for path in texts))


def test_every_kconfig_name_was_seen_in_zephyr_or_is_declared_here() -> None:
    unknown = mentioned() - kconfig.listed().keys() - kconfig.own_defaults().keys()
    assert unknown == set()


def test_the_list_of_names_holds_none_that_nobody_uses_and_is_in_order() -> None:
    names = list(kconfig.listed())
    assert set(names) - mentioned() == set()
    assert names == sorted(names)


def test_every_option_of_our_own_is_used_in_the_code() -> None:
    code = set().union(*(kconfig.used(path.read_text()) for path in SOURCES))
    assert kconfig.own_defaults().keys() - code == set()


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_fragment_sets_each_option_once(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert len(kconfig.settings(path)) == len(lines)


def test_random_numbers_of_a_product_are_random() -> None:
    assert "TEST_RANDOM_GENERATOR" not in set().union(*(kconfig.settings(path) for path in FRAGMENTS))


def test_bootloader_keeps_the_fallback_and_its_mode_is_pinned() -> None:
    sysbuild = kconfig.settings(kconfig.APPLICATION / "sysbuild.conf")
    assert sysbuild["SB_MCUBOOT_MODE_SWAP_USING_OFFSET"] == "y"
    assert sysbuild["SB_BOOT_SIGNATURE_TYPE_ECDSA_P256"] == "y"
    bootloader = kconfig.settings(kconfig.APPLICATION / "sysbuild" / "mcuboot.conf")
    assert bootloader["BOOT_VALIDATE_SLOT0"] == "y"
    assert bootloader["MCUBOOT_DOWNGRADE_PREVENTION_SECURITY_COUNTER"] == "y"
    assert bootloader["BOOT_WATCHDOG_FEED"] == "y"


def test_there_is_no_signing_key_unless_somebody_names_one() -> None:
    assert kconfig.settings(kconfig.APPLICATION / "sysbuild.conf")["SB_BOOT_SIGNATURE_KEY_FILE"] == '""'
    assert "FATAL_ERROR" in (kconfig.APPLICATION / "sysbuild.cmake").read_text()


def test_no_secret_lies_in_the_tree() -> None:
    secret = re.compile(r"PRIVATE\sKEY|\b[0-9a-fA-F]{32,}\b|(?:\b[0-9a-fA-F]{2}:){15}|(?:0x[0-9a-fA-F]{2}, ){15}")
    for path in tree():
        assert secret.search(path.read_text()) is None, path
        assert path.suffix not in (".pem", ".der", ".key"), path


def test_west_pins_zephyr_and_takes_only_what_is_needed() -> None:
    manifest = yaml.safe_load((kconfig.ZEPHYR / "west.yml").read_text())["manifest"]
    (zephyr,) = manifest["projects"]
    assert re.fullmatch(r"v4\.\d+\.\d+", zephyr["revision"])
    assert {"mcuboot", "mbedtls", "zcbor", "hal_nxp", "hal_nordic"} <= set(zephyr["import"]["name-allowlist"])


def test_twister_builds_every_overlay_and_every_board() -> None:
    sample = yaml.safe_load((kconfig.APPLICATION / "sample.yaml").read_text())
    built, boards = set(), set()
    for test in sample["tests"].values():
        boards |= {platform.replace("/", "_") for platform in test["platform_allow"]}
        for argument in test.get("extra_args", []):
            built |= set(re.findall(r"overlay-[a-z]+\.conf", argument))
    assert built == {path.name for path in kconfig.APPLICATION.glob("overlay-*.conf")}
    assert boards == {path.stem for path in kconfig.APPLICATION.glob("boards/*.overlay")}
    assert boards == {path.stem for path in kconfig.APPLICATION.glob("boards/*.conf")}


def test_cmake_compiles_every_source() -> None:
    named = set(re.findall(r"^  (src/\w+\.c)$", (kconfig.APPLICATION / "CMakeLists.txt").read_text(), re.MULTILINE))
    assert named == {f"src/{path.name}" for path in SOURCES if path.suffix == ".c"}
