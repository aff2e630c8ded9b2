"""What the proxy shows to which upstream: HTTP headers by base URL, from a file that only the proxy reads.

    {"https://files.example/firmware/": {"Authorization": "Bearer 6f1d..."}}

They are this proxy's own and go to that base alone: whoever follows a redirect asks again for the base it leads to.
Devices never see them: an upstream that refuses them is 5.02, not 4.01. Never printed: `repr` names bases only.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from coap_http_proxy.mapping import uris
from coap_http_proxy.secret_files import read_secret

MAX_FILE_BYTES: Final = 1 << 20

# RFC 9110 section 5.6.2 and 5.5: a field's name is a token, its value visible characters, spaces and tabs.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]{0,8000}[\x21-\x7e])?")
# Fields that say how a message is framed or where it goes are not credentials.
_NOT_CREDENTIALS: Final = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "range",
        "accept-encoding",
    }
)


class BadCredentials(ValueError):
    """The file cannot be used; the message says why and holds no value of it."""


class Credentials:
    """Headers by base of the allow-list."""

    def __init__(self, headers: dict[uris.Base, dict[str, str]] | None = None) -> None:
        self._headers = headers or {}

    def headers_for(self, base: uris.Base) -> dict[str, str]:
        """Headers for a request that `base` of the allow-list allows; empty when it needs none."""
        return dict(self._headers.get(base, {}))

    def __repr__(self) -> str:
        return f"Credentials({', '.join(base.host for base in self._headers)})"


def read_credentials(path: Path | None, bases: Iterable[uris.Base]) -> Credentials:
    """Read the file; raises BadCredentials when others can read it or it names a base that may not be asked."""
    if path is None:
        return Credentials()
    data = read_secret(path, MAX_FILE_BYTES, BadCredentials)
    try:
        record = json.loads(data)
    except ValueError:
        # The decoder's own error holds the text.
        raise BadCredentials(f"{path} is not JSON") from None
    return Credentials(parse_credentials(record, frozenset(bases)))


def parse_credentials(record: Any, bases: frozenset[uris.Base]) -> dict[uris.Base, dict[str, str]]:
    """Headers by base; raises BadCredentials, which never names a value."""
    if not isinstance(record, dict):
        raise BadCredentials("credentials are an object of base URLs")
    found: dict[uris.Base, dict[str, str]] = {}
    for url, headers in record.items():
        try:
            base = uris.parse_base(url)
        except ValueError as error:
            raise BadCredentials("a key of the credentials is no base URL") from error
        if base not in bases:
            raise BadCredentials(f"{url} is not among the allowed upstreams")
        if not isinstance(headers, dict):
            raise BadCredentials(f"credentials of {url} are an object of header names and values")
        for name, value in headers.items():
            if not _NAME.fullmatch(name) or name.lower() in _NOT_CREDENTIALS:
                raise BadCredentials(f"{url}: a header of that name cannot be set here")
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise BadCredentials(f"{url}: the value of {name} is no header value")
        found[base] = headers
    return found
