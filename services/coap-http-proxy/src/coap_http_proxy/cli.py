"""Command line of the proxy: each option stands for settings, which know default, meaning and limits.

An option overrules its environment variable. What is wrong is said in one line, with the option or variable it came
from and how to mend it, and ends the process with status 2.
"""

import argparse
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pydantic import SecretStr
from pydantic.fields import FieldInfo

import servicekit
from coap_http_proxy.credentials import BadCredentials, read_credentials
from coap_http_proxy.psk import BadKeys, read_keys, read_upstream_keys
from coap_http_proxy.settings import ProxySettings

EXAMPLE: Final = """\
example: every file below http://127.0.0.1:8000/, for CoAP clients, without Redis

  python -m coap_http_proxy --no-redis --reverse /files=http://127.0.0.1:8000
  coap-client -m get coap://127.0.0.1:5685/files/README.md

More settings are environment variables: docs/configuration.md. What the proxy does: docs/proxy.md.
"""


@dataclass(frozen=True, slots=True)
class Option:
    """A flag and the settings it stands for: one, or host and port. `many`: may be repeated, comma-separated there."""

    flag: str
    fields: tuple[str, ...]
    metavar: str
    many: bool = False


OPTIONS: Final = (
    Option("--coap", ("coap_host", "coap_port"), "[HOST:]PORT"),
    Option("--http", ("host", "port"), "[HOST:]PORT"),
    Option("--http-to-coap", ("http_to_coap_host", "http_to_coap_port"), "[HOST:]PORT"),
    Option("--allow", ("allowed_upstreams",), "URL", many=True),
    Option("--reverse", ("reverse",), "/PREFIX=URL", many=True),
    Option("--cache", ("cache_directory",), "DIR"),
    Option("--redis", ("redis_url",), "URL"),
    Option("--workers", ("workers",), "N"),
    Option("--log-level", ("log_level",), "LEVEL"),
)


def settings_from(arguments: Sequence[str] | None = None) -> ProxySettings:
    """Settings from options and environment; exits with status 2 and a message when they are wrong."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {"redis_url": ""} if given.pop("no_redis") else {}
    names = dict.fromkeys(values, "--no-redis")
    for option in OPTIONS:
        value = given[_name(option)]
        if value is not None:
            parts = value if len(option.fields) > 1 else (",".join(value) if option.many else value,)
            values |= {field: part for field, part in zip(option.fields, parts, strict=True) if part is not None}
            names |= dict.fromkeys(option.fields, option.flag)
    return servicekit.load(ProxySettings, values, names)


def require_usable(settings: ProxySettings) -> None:
    """Exit with status 2 when a port is taken or a file is unusable: said once, before any part is started."""
    for flag, kind, host, port in (
        ("--coap", socket.SOCK_DGRAM, settings.coap_host, settings.coap_port),
        ("--http", socket.SOCK_STREAM, settings.host, settings.port),
        ("--http-to-coap", socket.SOCK_STREAM, settings.http_to_coap_host, settings.http_to_coap_port),
        ("COAP_HTTP_PROXY_DTLS_PORT", socket.SOCK_DGRAM, settings.coap_host, settings.dtls_port),
    ):
        if port == 0:
            continue  # not wanted
        try:
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:  # as servers do: connections that linger from the last run are none
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            _stop(f"{host}:{port} cannot be listened on ({error.strerror}): choose another with {flag}")
    folder = settings.cache_directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _stop(f"the cache folder {folder} cannot be made ({error.strerror}): choose another with --cache DIR")
    if not os.access(folder, os.W_OK | os.X_OK):
        _stop(f"the cache folder {folder} cannot be written: choose another with --cache DIR")
    secrets: tuple[tuple[str, Callable[[], object]], ...] = (
        ("PSK_FILE", lambda: read_keys(settings.psk_file)),
        ("UPSTREAM_PSK_FILE", lambda: read_upstream_keys(settings.upstream_psk_file)),
        ("CREDENTIALS_FILE", lambda: read_credentials(settings.credentials_file, settings.bases)),
    )
    for name, read in secrets:
        try:
            read()
        except (BadKeys, BadCredentials) as error:
            _stop(f"setting COAP_HTTP_PROXY_{name}: {error}")


def _stop(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coap_http_proxy",
        description="Serves what HTTP servers hold to devices that speak CoAP: firmware by ticket, an allowed URL by\n"
        "Proxy-Uri, and path prefixes that stand for a server. No server is asked that is not named.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            metavar=option.metavar,
            dest=_name(option),
            action="append" if option.many else "store",
            type=_host_and_port if len(option.fields) > 1 else str,
            help=_help(option),
        )
    parser.add_argument("--no-redis", action="store_true", help="the same as an empty --redis")
    return parser


def _name(option: Option) -> str:
    return option.flag.strip("-").replace("-", "_")


def _help(option: Option) -> str:
    fields = [ProxySettings.model_fields[name] for name in option.fields]
    meaning = "; ".join((field.description or "").replace("%", "%%") for field in fields)
    if option.many:
        meaning = re.sub(r", comma-separated( `[^`]*`)?", "", meaning) + "; may be repeated"
    defaults = ":".join(_default(field) for field in fields)
    variables = ", ".join(servicekit.variable(ProxySettings, name) for name in option.fields)
    return f"{meaning} (default: {defaults}) [{variables}]"


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return str(value) or "none"


def _host_and_port(text: str) -> tuple[str | None, int]:
    """`host:port`, `:port` or `port`; the host stays what it was when it is not given."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} holds no port: write 127.0.0.1:5683, or 5683 alone")
    return host or None, int(port)
