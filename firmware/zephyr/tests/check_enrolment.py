"""Enrolment: without credentials a device stays silent and says what to do; no key is a default or comes out again."""

from pathlib import Path

import pytest
from device import Device, build

from softdevice.images import new_key

SECURE = "coaps://updraft.example:5684"
KEY = "6f1d7c0a94e8b352" + "07d1c6a2f8e49b13"
EXAMPLES = (bytes(range(16)).hex(), bytes(byte % 256 for byte in range(0xF8, 0x108)).hex(), "aa" * 16)


@pytest.fixture(scope="session")
def secure_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("secure"), "overlay-dtls.conf", "overlay-queue.conf")


@pytest.fixture(scope="session")
def plain_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def secure(secure_program: Path, tmp_path: Path) -> Device:
    made = Device(secure_program, tmp_path, new_key())
    made.provision(made.image("1.0.0"))
    return made


@pytest.fixture
def plain(plain_program: Path, tmp_path: Path) -> Device:
    made = Device(plain_program, tmp_path, new_key())
    made.provision(made.image("1.0.0"))
    return made


def silent(said: list[str]) -> bool:
    return not any(line.startswith("client starts") for line in said)


def test_new_device_stays_silent_and_says_what_to_type(secure: Device) -> None:
    said = secure.live()
    assert silent(said)
    assert "error: not enrolled, the client does not start: no server: updraft server URI" in said


def test_enrolled_device_registers_with_its_own_key_after_the_next_reboot(secure: Device) -> None:
    secure.live(f"updraft server {SECURE}", f"updraft psk sensor-1 {KEY}")
    said = secure.live()
    assert f"/0/0/0 = {SECURE}" in said
    assert "/0/0/2 = 0" in said
    assert "/0/0/3 = sensor-1" in said
    assert "/0/0/5 = 16 bytes" in said
    assert "client starts as updraft-0a0b0c0d" in said


def test_device_with_a_server_and_no_key_stays_silent(secure: Device) -> None:
    secure.enrol(SECURE)
    said = secure.live()
    assert silent(said)
    assert any("no key: make one for this device" in line for line in said)


def test_build_with_dtls_never_falls_back_to_plain_coap(secure: Device) -> None:
    secure.live(f"updraft psk sensor-1 {KEY}", "updraft server coap://updraft.example:5683")
    said = secure.live()
    assert silent(said)
    assert any("this build speaks DTLS" in line for line in said)


def test_build_without_dtls_does_not_pretend(plain: Device) -> None:
    plain.enrol(SECURE)
    assert silent(plain.live())


@pytest.mark.parametrize(
    "key", [*EXAMPLES, KEY[:30], KEY + KEY + "00", "not hex at all, thirty-two digits", KEY[:-1] + "g"]
)
def test_key_that_is_an_example_or_of_a_wrong_length_is_not_stored(secure: Device, key: str) -> None:
    said = secure.live(f"updraft server {SECURE}", f"updraft psk sensor-1 {key}")
    assert "shell: stored; in use after the next reboot" in said
    assert not (secure.folder / "psk").exists()
    assert silent(secure.live())


@pytest.mark.parametrize("key", EXAMPLES)
def test_example_key_is_refused_however_it_came_into_the_settings(secure: Device, key: str) -> None:
    secure.enrol(SECURE)
    (secure.folder / "identity").write_text("sensor-1")
    (secure.folder / "psk").write_bytes(bytes.fromhex(key))
    said = secure.live()
    assert silent(said)
    assert any("an example everybody has" in line for line in said)


def test_key_that_is_too_short_is_none_however_it_came_into_the_settings(secure: Device) -> None:
    secure.enrol(SECURE)
    (secure.folder / "identity").write_text("sensor-1")
    (secure.folder / "psk").write_bytes(bytes.fromhex(KEY)[:15])
    said = secure.live()
    assert silent(said)
    assert any("no key: make one for this device" in line for line in said)


def test_status_shows_no_key(secure: Device) -> None:
    secure.live(f"updraft server {SECURE}", f"updraft psk sensor-1 {KEY}")
    said = secure.live("updraft status")
    assert "shell: identity sensor-1, key of 16 bytes" in said
    assert KEY not in "".join(said).lower()


@pytest.mark.parametrize(("name", "room"), [("server", 127), ("endpoint", 64)])
def test_text_longer_than_its_room_is_not_stored(plain: Device, name: str, room: int) -> None:
    said = plain.live(f"updraft {name} {'x' * (room + 1)}")
    assert "shell refuses: not stored: -22" in said
    assert not (plain.folder / name).exists()
    plain.live(f"updraft {name} {'x' * room}")
    assert (plain.folder / name).read_text() == "x" * room


@pytest.mark.parametrize("name", ["record", "boots", "server", "endpoint", "identity", "psk", "unknown"])
def test_settings_that_make_no_sense_are_taken_for_none(plain: Device, name: str) -> None:
    plain.enrol()
    (plain.folder / name).write_bytes(b"\xff" * 500)
    said = plain.live()
    assert "/3/0/3 = 1.0.0+0" in said
    assert "result 0" in said


def test_number_that_was_not_stored_whole_is_none(plain: Device) -> None:
    plain.enrol()
    (plain.folder / "boots").write_bytes(b"\x07")
    assert "/26250/0/2 = 01 00 00 00" in plain.live("read 26250/0/2")


def test_bootstrap_server_is_asked_first_in_a_build_that_knows_one(tmp_path: Path) -> None:
    device = Device(build(tmp_path, "overlay-bootstrap.conf"), tmp_path, new_key())
    device.provision(device.image("1.0.0"))
    device.enrol()
    said = device.live()
    assert "client starts as board-1, bootstrap" in said
    assert not any(line.startswith("/1/0/0") for line in said)
