"""Which signing keys the build for a board takes, asked of CMake itself."""

import pytest
from device import run
from kconfig import APPLICATION


def configure(*options: str) -> str:
    """What CMake says of sysbuild.cmake under these options; AssertionError with its words when it stops."""
    return run(["cmake", *options, "-P", str(APPLICATION / "sysbuild.cmake")])


def key(name: str) -> str:
    return f"-DSB_CONFIG_BOOT_SIGNATURE_KEY_FILE={name}"


@pytest.mark.parametrize("name", ["/home/me/keys/signing.pem", "/home/me/root-keys/signing.pem"])
def test_key_of_ones_own_is_taken(name: str) -> None:
    configure(key(name))


@pytest.mark.parametrize("options", [(), (key(""),)], ids=["not named", "empty"])
def test_build_without_a_key_stops(options: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match=r"No\s+signing\s+key"):
        configure(*options)


@pytest.mark.parametrize("folder", ["", "/zephyrproject/bootloader/mcuboot/", "mcuboot/"])
@pytest.mark.parametrize(
    "name", ["root-ec-p256.pem", "root-ec-p256-pkcs8.pem", "root-ed25519.pem", "root-rsa-2048.pem"]
)
def test_published_name_is_refused_in_any_folder_and_in_none(folder: str, name: str) -> None:
    with pytest.raises(AssertionError, match=r"published\s+test\s+key"):
        configure(key(folder + name))


def test_relative_path_is_refused_because_mcuboot_would_look_for_it_beside_its_own_keys() -> None:
    with pytest.raises(AssertionError, match=r"absolute\s+path"):
        configure(key("keys/signing.pem"))
