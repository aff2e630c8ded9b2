"""Every source of the application compiles without a warning under every configuration that is built for a board."""

from pathlib import Path

import kconfig
import pytest
from device import compiler_options, run

BOARDS = sorted(f"boards/{path.name}" for path in kconfig.APPLICATION.glob("boards/*.conf"))
OVERLAYS = sorted(path.name for path in kconfig.APPLICATION.glob("overlay-*.conf"))
SOURCES = sorted(map(str, kconfig.APPLICATION.glob("src/*.c")))
COMPILERS = (("gcc",), ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"))
STRICTER = ("-Wconversion", "-Wshadow", "-fsyntax-only")
PROXY = {"LWM2M_FIRMWARE_UPDATE_PULL_COAP_PROXY_ADDR": '"coap://192.0.2.1:5685"'}


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda compiler: str(compiler[0]))
@pytest.mark.parametrize("fragments", [(), *((one,) for one in (*BOARDS, *OVERLAYS)), tuple(OVERLAYS)], ids=str)
def test_application_compiles_without_a_warning(
    fragments: tuple[str, ...], compiler: tuple[str, ...], tmp_path: Path
) -> None:
    more = PROXY if "overlay-proxy.conf" in fragments else {}
    assert SOURCES
    run([*compiler, *compiler_options(tmp_path, *fragments, **more), *STRICTER, *SOURCES])


def test_build_for_a_proxy_without_its_address_does_not_compile(tmp_path: Path) -> None:
    options = compiler_options(tmp_path, "overlay-proxy.conf", LWM2M_FIRMWARE_UPDATE_PULL_COAP_PROXY_ADDR='""')
    with pytest.raises(AssertionError, match=r"overlay-proxy\.conf needs the address"):
        run(["gcc", *options, "-fsyntax-only", str(kconfig.APPLICATION / "src" / "firmware.c")])


def test_build_without_the_shell_has_no_shell_in_it(tmp_path: Path) -> None:
    options = compiler_options(tmp_path, SHELL="n", UPDRAFT_SHELL="n")
    source = kconfig.APPLICATION / "src" / "credentials.c"
    assert "shell_static_entry" not in run(["gcc", *options, "-E", str(source)])
