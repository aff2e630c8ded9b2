"""The command line: options are settings by another name, and what is wrong is said so that it can be mended."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from coap_http_proxy import cli
from coap_http_proxy.settings import ProxySettings
from updraft_local.ports import free_port


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--coap 0.0.0.0:5683", {"coap_host": "0.0.0.0", "coap_port": 5683}),
        ("--coap 5683", {"coap_host": "127.0.0.1", "coap_port": 5683}),
        ("--http :9000", {"host": "127.0.0.1", "port": 9000}),
        ("--allow http://a/ --allow https://b/x", {"allowed_upstreams": "http://a/,https://b/x"}),
        ("--reverse /a=http://a --reverse /b=http://b", {"reverse": "/a=http://a,/b=http://b"}),
        ("--cache somewhere", {"cache_directory": Path("somewhere")}),
        ("--log-level debug", {"log_level": "DEBUG"}),
    ],
)
def test_an_option_is_a_setting_by_another_name(arguments: str, expected: dict[str, object]) -> None:
    settings = cli.settings_from(arguments.split())
    assert {name: getattr(settings, name) for name in expected} == expected


def test_an_option_overrules_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COAP_HTTP_PROXY_COAP_PORT", "7777")
    monkeypatch.setenv("COAP_HTTP_PROXY_ALLOWED_UPSTREAMS", "http://environment/")
    monkeypatch.setenv("REDIS_URL", "redis://environment/0")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    from_environment = cli.settings_from([])
    assert (from_environment.coap_port, from_environment.log_level) == (7777, "ERROR")
    assert from_environment.redis_url.get_secret_value() == "redis://environment/0"
    overruled = cli.settings_from(["--coap", "5683", "--allow", "http://a/", "--no-redis", "--log-level", "INFO"])
    assert (overruled.coap_port, overruled.allowed_upstreams, overruled.log_level) == (5683, "http://a/", "INFO")
    assert overruled.redis_url.get_secret_value() == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--coap nowhere", "argument --coap: 'nowhere' holds no port: write 127.0.0.1:5683"),
        ("--coap 127.0.0.1:99999", "option --coap: Input should be less than or equal to 65535"),
        ("--allow ftp://a", "option --allow: scheme ftp is not served here (see --help)"),
        ("--allow http://", "option --allow: the URI has no scheme or no host"),
        ("--reverse files=http://a", "option --reverse: 'files=http://a' is no route: write /prefix=http://host/path"),
        ("--redis localhost", "option --redis: a Redis URL begins with redis://"),
        ("--workers 0", "option --workers: Input should be greater than or equal to 1"),
        ("--log-level LOUD", "option --log-level: 'LOUD' is no level: DEBUG, INFO, WARNING or ERROR"),
        ("--colour", "unrecognized arguments: --colour"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_write_instead(
    arguments: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.settings_from(arguments.split())
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_wrong_variable_is_named_as_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COAP_HTTP_PROXY_REVERSE", "/f=http://a")
    with pytest.raises(SystemExit) as stopped:
        cli.settings_from([])
    assert stopped.value.code == 2
    assert "setting COAP_HTTP_PROXY_REVERSE: /f is answered by the proxy itself" in capsys.readouterr().err


@pytest.mark.parametrize(("flag", "kind"), [("--coap", socket.SOCK_DGRAM), ("--http", socket.SOCK_STREAM)])
def test_a_taken_port_is_said_before_anything_starts(
    flag: str, kind: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        ports = {"--coap": free_port(socket.SOCK_DGRAM), "--http": free_port(), flag: taken.getsockname()[1]}
        arguments = [part for name, port in ports.items() for part in (name, str(port))]
        with pytest.raises(SystemExit) as stopped:
            cli.require_usable(cli.settings_from([*arguments, "--cache", str(tmp_path)]))
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1:{ports[flag]} cannot be listened on" in said and f"choose another with {flag}" in said


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    ports = ["--coap", str(free_port(socket.SOCK_DGRAM)), "--http", str(free_port())]
    with pytest.raises(SystemExit) as stopped:
        cli.require_usable(cli.settings_from([*ports, "--cache", str(tmp_path / "file" / "blocks")]))
    assert stopped.value.code == 2
    assert "choose another with --cache" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "content", "mode", "complaint"),
    [
        ("COAP_HTTP_PROXY_PSK_FILE", "device zz", 0o600, "line 1"),
        ("COAP_HTTP_PROXY_PSK_FILE", "device 00112233445566778899aabbccddeeff", 0o604, "chmod o="),
        ("COAP_HTTP_PROXY_UPSTREAM_PSK_FILE", "nonsense", 0o600, "line 1"),
        ("COAP_HTTP_PROXY_CREDENTIALS_FILE", "{", 0o600, "is not JSON"),
        ("COAP_HTTP_PROXY_CREDENTIALS_FILE", '{"http://other/": {}}', 0o600, "not among the allowed upstreams"),
    ],
)
def test_a_file_of_secrets_that_cannot_be_used_is_said(
    variable: str,
    content: str,
    mode: int,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "secrets"
    file.write_text(content)
    file.chmod(mode)
    monkeypatch.setenv(variable, str(file))
    ports = ["--coap", str(free_port(socket.SOCK_DGRAM)), "--http", str(free_port())]
    with pytest.raises(SystemExit) as stopped:
        cli.require_usable(cli.settings_from([*ports, "--cache", str(tmp_path)]))
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert f"setting {variable}: " in said and complaint in said


def test_help_names_each_option_with_its_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "coap_http_proxy", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "COLUMNS": "120"},
    )
    for option in cli.OPTIONS:
        assert option.flag in done.stdout
        for name in option.fields:
            assert name in ProxySettings.model_fields
    variables = set(re.findall(r"COAP_HTTP_PROXY_[A-Z_]+", done.stdout))
    assert {"COAP_HTTP_PROXY_COAP_PORT", "COAP_HTTP_PROXY_ALLOWED_UPSTREAMS", "COAP_HTTP_PROXY_REVERSE"} <= variables
    assert "example:" in done.stdout
