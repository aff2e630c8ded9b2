"""Logs stay on one line, settings name the variable that is wrong, health answers and stays small."""

import asyncio
import logging
import sys
from pathlib import Path

import httpx
import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

import servicekit
from servicekit.logs import LineFormatter


class Example(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")
    port: int = Field(ge=1)


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EXAMPLE_PORT", "secret-value")
    with pytest.raises(SystemExit):
        servicekit.load(Example)
    said = capsys.readouterr().err
    assert "EXAMPLE_PORT" in said
    assert "secret-value" not in said


def test_device_text_cannot_forge_a_log_line() -> None:
    record = logging.makeLogRecord({"msg": "hello\nERROR forged\x1b[31m", "endpoint": "a\nb"})
    assert "\n" not in LineFormatter().format(record)
    assert "\x1b" not in LineFormatter().format(record)


def test_words_in_a_traceback_cannot_forge_a_log_line_either() -> None:
    try:
        raise ValueError("a\n2026-11-23T10:00:00Z ERROR forged\x1b[31m")
    except ValueError:
        record = logging.makeLogRecord({"msg": "stumbled", "exc_info": sys.exc_info()})
    first, *told = LineFormatter().format(record).splitlines()
    assert first.endswith("stumbled") and told and all(line.startswith("    | ") for line in told)
    assert "\x1b" not in "".join(told)


async def test_health_answers_get_and_nothing_else() -> None:
    async def ok() -> servicekit.Answer:
        return servicekit.json_answer({"status": "ok"})

    server = await servicekit.serve({"/healthz": ok}, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/other")).status_code == 404
        assert (await client.post("/healthz")).status_code == 405
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"G" * 20000)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(1)
        writer.close()


def test_the_kit_stays_small() -> None:
    files = (Path(servicekit.__file__).parent).glob("*.py")
    assert sum(len(file.read_text().splitlines()) for file in files) <= 400
