"""Content formats and media types, both ways (IANA's CoAP Content-Formats; RFC 7252 section 12.3, RFC 8075 6)."""

from typing import Final

from coap_wire.codes import LINK_FORMAT, OCTET_STREAM, TEXT

# The media type as it is sent in Content-Type and Accept; parameters that make another format of it included.
MEDIA_TYPES: Final[dict[int, str]] = {
    TEXT: "text/plain; charset=utf-8",
    16: 'application/cose; cose-type="cose-encrypt0"',
    17: 'application/cose; cose-type="cose-mac0"',
    18: 'application/cose; cose-type="cose-sign1"',
    19: "application/ace+cbor",
    21: "image/gif",
    22: "image/jpeg",
    23: "image/png",
    LINK_FORMAT: "application/link-format",
    41: "application/xml",
    OCTET_STREAM: "application/octet-stream",
    47: "application/exi",
    50: "application/json",
    51: "application/json-patch+json",
    52: "application/merge-patch+json",
    60: "application/cbor",
    61: "application/cwt",
    62: "application/multipart-core",
    63: "application/cbor-seq",
    96: 'application/cose; cose-type="cose-encrypt"',
    97: 'application/cose; cose-type="cose-mac"',
    98: 'application/cose; cose-type="cose-sign"',
    101: "application/cose-key",
    102: "application/cose-key-set",
    110: "application/senml+json",
    111: "application/sensml+json",
    112: "application/senml+cbor",
    113: "application/sensml+cbor",
    114: "application/senml-exi",
    115: "application/sensml-exi",
    256: "application/coap-group+json",
    257: "application/concise-problem-details+cbor",
    258: "application/swid+cbor",
    271: "application/dots+cbor",
    272: "application/missing-blocks+cbor-seq",
    310: "application/senml+xml",
    311: "application/sensml+xml",
    320: "application/senml-etch+json",
    322: "application/senml-etch+cbor",
    432: "application/td+json",
    10000: "application/vnd.ocf+cbor",
    11542: "application/vnd.oma.lwm2m+tlv",
    11543: "application/vnd.oma.lwm2m+json",
    11544: "application/vnd.oma.lwm2m+cbor",
    20000: "text/css",
    30000: "image/svg+xml",
}
# Other names servers use for the same thing (RFC 7303 section 9.2 for text/xml).
ALIASES: Final[dict[str, int]] = {"text/xml": 41, "text/json": 50}
# RFC 8075 section 6.3: how a type without a number may be taken for one it is a kind of.
LOOSE: Final[tuple[tuple[str, str, int], ...]] = (
    ("application/", "+xml", 41),
    ("application/", "+json", 50),
    ("application/", "+cbor", 60),
    ("text/", "", TEXT),
)
COAP_PAYLOAD: Final = "application/coap-payload"
_UTF8_NAMES: Final = ("utf-8", "utf8", "us-ascii")
# Parameters that tell formats of one media type from each other; all others change nothing.
_TELLING: Final = ("cose-type",)


def media_type(content_format: int) -> str | None:
    """The media type of a content format, None for a number this table does not know."""
    return MEDIA_TYPES.get(content_format)


def media_type_or_number(content_format: int) -> str:
    """As `media_type`; an unknown number travels as `application/coap-payload;cf=N` (RFC 8075 section 6.2)."""
    return MEDIA_TYPES.get(content_format, f"{COAP_PAYLOAD};cf={content_format}")


def content_format(content_type: str, *, loose: bool = False) -> int | None:
    """The content format of a Content-Type header, None when there is none: nothing is invented.

    Text in another character set than UTF-8 is not format 0. With `loose`, a type without a number of its own is taken
    for what it is a kind of (RFC 8075 section 6.3).
    """
    name, parameters = _parsed(content_type)
    if name == COAP_PAYLOAD:
        number = parameters.get("cf", "")
        return int(number) if number.isascii() and number.isdigit() and int(number) <= 0xFFFF else None
    if name.startswith("text/") and parameters.get("charset", "utf-8").lower() not in _UTF8_NAMES:
        return None
    telling = tuple((key, parameters[key]) for key in _TELLING if key in parameters)
    found = _BY_TYPE.get((name, telling), ALIASES.get(name))
    if found is None and loose:
        for prefix, suffix, kind in LOOSE:
            if name.startswith(prefix) and name.endswith(suffix):
                return kind
    return found


def _parsed(content_type: str) -> tuple[str, dict[str, str]]:
    name, *rest = content_type.split(";")
    parameters = {}
    for part in rest:
        key, _, value = part.partition("=")
        parameters[key.strip().lower()] = value.strip().strip('"').lower()
    return name.strip().lower(), parameters


def _telling(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    name, parameters = _parsed(text)
    return name, tuple((key, parameters[key]) for key in _TELLING if key in parameters)


_BY_TYPE: Final = {_telling(text): number for number, text in MEDIA_TYPES.items()}
