"""The command line makes keys and images, runs a fleet until SIGTERM, and shows what is in flash."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from scripted_server import ScriptedServer

from mcuboot_image import load_public_key, parse, verify
from softdevice import images
from softdevice.__main__ import main
from softdevice.images import ImageError, new_key, sign, small_image


def test_key_and_image_commands_make_what_a_device_trusts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, public, image = tmp_path / "key.pem", tmp_path / "public.pem", tmp_path / "a.bin"
    raw = tmp_path / "raw.bin"
    raw.write_bytes(b"firmware" * 100)
    assert main(["key", "new", "--output", str(key)]) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert main(["key", "public", "--key", str(key), "--output", str(public)]) == 0
    assert main(["image", "--input", str(raw), "--version", "1.2.3+4", "--key", str(key), "--output", str(image)]) == 0
    parsed = parse(image.read_bytes())
    assert str(parsed.header.version) == "1.2.3+4" and parsed.header.header_size == 0x200
    verify(parsed, (load_public_key(public.read_bytes()),))
    assert main(["key", "new", "--output", str(key)]) == 1
    assert "ECDSA P-256" in capsys.readouterr().out


def test_intel_hex_becomes_an_image(tmp_path: Path) -> None:
    source = tmp_path / "a.hex"
    source.write_text(":0400000001020304F2\n:02000800AABB91\n:00000001FF\n")
    assert images.read_payload(source) == bytes.fromhex("01020304ffffffffaabb")
    source.write_text("hello\n")
    with pytest.raises(ImageError):
        images.read_payload(source)


def test_real_zephyr_builds_become_images_of_two_versions() -> None:
    key = new_key()
    first, second = images.real_images(key)
    assert [str(parse(image).header.version) for image in (first, second)] == ["1.0.0", "1.1.0"]
    assert min(len(first), len(second)) > 100_000
    for image in (first, second):
        verify(parse(image), (key.public,))


def test_wrong_versions_and_sizes_are_named() -> None:
    key = new_key()
    with pytest.raises(ImageError, match="no version"):
        sign(b"x" * 100, "one", key)
    with pytest.raises(ImageError, match="could not sign"):
        sign(b"x" * 500_000, "1.0.0", key)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fleet", "--server", "http://h:1", "--devices", "1"],
        ["fleet", "--devices", "1", "--misbehave", "softdevice-0001=sulks"],
        ["fleet", "--devices", "1", "--misbehave", "nobody=queue_mode"],
        ["fleet", "--devices", "1", "--duration", "0.1", "--report", "no-such-folder/report.json"],
        ["run", "--name", "x", "--image", "missing.bin"],
        ["run", "--in-memory", "--key", "public.pem"],
        ["inspect", "no-such-folder"],
        ["image", "--input", "a.bin", "--version", "1.0.0", "--key", "public.pem", "--output", "b.bin"],
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    key = new_key()
    Path("public.pem").write_bytes(key.public_pem)
    Path("a.bin").write_bytes(small_image(key, "1.0.0"))
    if arguments[0] == "fleet":
        arguments = [*arguments, "--key", "public.pem", "--image", "a.bin"]
    assert main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("devices", [b"", b"\x00" * 8192])
def test_flash_file_that_is_none_is_named_with_what_to_do(
    devices: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("public.pem").write_bytes(new_key().public_pem)
    flash = Path("devices", "softdevice-0001", "flash.bin")
    flash.parent.mkdir(parents=True)
    arguments = ["fleet", "--devices", "1", "--key", "public.pem", "--directory", "devices"]
    assert main(arguments) == 1
    assert "softdevice-0001 is new" in capsys.readouterr().err and not flash.exists()
    flash.write_bytes(devices)
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert f"{flash} has {len(devices)} bytes" in told and "remove it" in told and told.count("\n") == 1


def test_image_of_a_strange_key_is_refused_before_devices_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public, image = tmp_path / "public.pem", tmp_path / "a.bin"
    public.write_bytes(new_key().public_pem)
    image.write_bytes(small_image(new_key(), "1.0.0"))
    folder = tmp_path / "devices"
    arguments = ["fleet", "--devices", "1", "--key", str(public), "--image", str(image), "--directory", str(folder)]
    assert main(arguments) == 1
    assert "would not boot" in capsys.readouterr().err and not folder.exists()


async def test_fleet_registers_leaves_on_sigterm_and_is_found_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key()
    (tmp_path / "public.pem").write_bytes(key.public_pem)
    (tmp_path / "a.bin").write_bytes(small_image(key, "1.0.0"))
    server = ScriptedServer()
    await server.open()
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "softdevice", "fleet", "--devices", "3", "--name-prefix", "dev-"),
            *("--server", f"coap://127.0.0.1:{server.port}", "--directory", str(tmp_path / "fleet")),
            *("--image", str(tmp_path / "a.bin"), "--key", str(tmp_path / "public.pem"), "--log-format", "json"),
            *("--misbehave", "dev-0002=queue_mode", "--hurry", "--ack-timeout", "0.3"),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "SOFTDEVICE_LIFETIME": "99"},
        )
        async with asyncio.timeout(20):
            seen = [await server.registrations.get() for _ in range(3)]
        assert {item for message in seen for item in message.uri_query if item.startswith("ep=")} == {
            "ep=dev-0001",
            "ep=dev-0002",
            "ep=dev-0003",
        }
        assert all("lt=99" in message.uri_query for message in seen)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        lines = [json.loads(line) for line in errors.decode().splitlines()]
        assert ("dev-0003", "registered") in {(line["endpoint"], line["message"]) for line in lines}
    server.close()
    assert server.deregistered == 6
    assert main(["inspect", str(tmp_path / "fleet")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [device["endpoint"] for device in found] == ["dev-0001", "dev-0002", "dev-0003"]
    assert all(device["boots"] == 2 and device["runningVersion"] == "1.0.0" for device in found)
