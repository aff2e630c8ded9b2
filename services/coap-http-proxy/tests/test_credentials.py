"""Credentials of an upstream reach that upstream, and nobody else reads them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from coap_http_proxy.credentials import BadCredentials, read_credentials
from coap_http_proxy.mapping import uris

BASES = uris.parse_bases("https://files.example/firmware/, https://files.example/, http://other.example:8080/")
SECRET = "Bearer 6f1d-very-secret"


def written(folder: Path, record: Any, mode: int = 0o600) -> Path:
    path = folder / "credentials.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    path.chmod(mode)
    return path


def test_headers_go_to_their_base_alone(tmp_path: Path) -> None:
    path = written(tmp_path, {"https://files.example/firmware": {"Authorization": SECRET}})
    credentials = read_credentials(path, BASES)
    shown = {uri: credentials.headers_for(uris.allowed(uri, BASES)) for uri in (
        "https://files.example/firmware/a.bin",
        "https://files.example/a.bin",
        "http://other.example:8080/firmware/a.bin",
    )}  # fmt: skip
    assert list(shown.values()) == [{"Authorization": SECRET}, {}, {}]


def test_without_a_file_nobody_is_shown_anything() -> None:
    assert read_credentials(None, BASES).headers_for(BASES[0]) == {}


def test_nothing_printed_holds_a_value(tmp_path: Path) -> None:
    credentials = read_credentials(written(tmp_path, {"https://files.example/": {"X-Key": SECRET}}), BASES)
    assert "files.example" in repr(credentials)
    assert "secret" not in repr(credentials) + str(credentials) + f"{credentials!s:.500}"


def test_a_caller_who_changes_what_it_got_changes_nothing(tmp_path: Path) -> None:
    credentials = read_credentials(written(tmp_path, {"https://files.example/": {"X-Key": SECRET}}), BASES)
    credentials.headers_for(BASES[1]).clear()
    assert credentials.headers_for(BASES[1]) == {"X-Key": SECRET}


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o601])
def test_a_file_that_every_user_may_open_is_refused(mode: int, tmp_path: Path) -> None:
    path = written(tmp_path, {"https://files.example/": {"Authorization": SECRET}}, mode)
    with pytest.raises(BadCredentials, match="open to every user"):
        read_credentials(path, BASES)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_of_the_owner_and_the_group_is_read(mode: int, tmp_path: Path) -> None:
    read_credentials(written(tmp_path, {"https://files.example/": {"Authorization": SECRET}}, mode), BASES)


@pytest.mark.parametrize(
    "record",
    [
        [SECRET],
        {"https://files.example/": SECRET},
        {"https://files.example/": {"Authorization": [SECRET]}},
        {"https://files.example/": {"Authorization": ""}},
        {"https://files.example/": {"Authorization": f"{SECRET}\r\nHost: evil.example"}},
        {"https://files.example/": {"Authorization": f" {SECRET}"}},
        {"https://files.example/": {"Authorization": f"{SECRET}é"}},
        {"https://files.example/": {"Bad Name": SECRET}},
        {"https://files.example/": {"Host": SECRET}},
        {"https://files.example/": {"Content-Length": SECRET}},
        {"https://evil.example/": {"Authorization": SECRET}},
        {"not a base": {"Authorization": SECRET}},
        {f"https://me:{SECRET}@files.example/": {}},
        f'{{"https://files.example/": {{"Authorization": "{SECRET}"',
        " " * (1 << 20) + "{}",
    ],
)
def test_nonsense_is_refused_without_showing_what_it_held(record: Any, tmp_path: Path) -> None:
    with pytest.raises(BadCredentials) as refusal:
        read_credentials(written(tmp_path, record), BASES)
    error: BaseException | None = refusal.value
    logging.getLogger().exception("as a log would show it", exc_info=error)
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials, match="cannot be read"):
        read_credentials(tmp_path / "nothing.json", BASES)
