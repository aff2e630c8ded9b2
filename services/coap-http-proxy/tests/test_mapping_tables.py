"""Every row of the tables between CoAP and HTTP, both ways, and what happens to what no table knows."""

import pytest

from coap_http_proxy.mapping import codes, media
from coap_wire import Code, dotted

GET, PUT, POST, DELETE = Code.GET, Code.PUT, Code.POST, Code.DELETE

# Written a second time, by hand from RFC 7252 section 10.1 and the notes beside the table: a slip in one shows.
TO_COAP = {
    (GET, 200): "2.05", (GET, 203): "2.05", (GET, 204): "2.05", (GET, 304): "2.03",
    (PUT, 200): "2.04", (PUT, 201): "2.01", (PUT, 202): "2.04", (PUT, 204): "2.04", (PUT, 205): "2.04",
    (POST, 200): "2.04", (POST, 201): "2.01", (POST, 202): "2.04", (POST, 204): "2.04", (POST, 205): "2.04",
    (DELETE, 200): "2.02", (DELETE, 202): "2.02", (DELETE, 204): "2.02", (DELETE, 404): "2.02", (DELETE, 410): "2.02",
    (GET, 400): "4.00", (GET, 401): "4.01", (GET, 402): "4.00", (GET, 403): "4.03", (GET, 404): "4.04",
    (GET, 405): "4.05", (GET, 406): "4.06", (GET, 407): "5.02", (GET, 408): "5.04", (GET, 409): "4.09",
    (GET, 410): "4.04", (GET, 412): "4.12", (GET, 413): "4.13", (GET, 415): "4.15", (GET, 422): "4.22",
    (GET, 429): "4.29", (GET, 500): "5.00", (GET, 501): "5.01", (GET, 502): "5.02", (GET, 503): "5.03",
    (GET, 504): "5.04", (GET, 505): "5.01", (GET, 508): "5.08",
}  # fmt: skip
TO_HTTP = {
    "2.01": 201, "2.02": 200, "2.03": 304, "2.04": 200, "2.05": 200,
    "4.00": 400, "4.01": 403, "4.02": 500, "4.03": 403, "4.04": 404, "4.05": 400, "4.06": 406, "4.08": 502,
    "4.09": 409, "4.12": 412, "4.13": 413, "4.15": 415, "4.22": 422, "4.29": 429,
    "5.00": 500, "5.01": 501, "5.02": 502, "5.03": 503, "5.04": 504, "5.05": 502, "5.08": 508,
}  # fmt: skip


@pytest.mark.rfc("7252-10.1.1-a", "7252-10.1.2-a", "7252-10.1.2-b", "7252-10.1.3-a", "7252-10.1.4-a", "7252-10.1.4-b")
@pytest.mark.parametrize(("asked", "code"), TO_COAP.items())
def test_an_http_status_has_its_coap_code(asked: tuple[int, int], code: str) -> None:
    method, status = asked
    assert dotted(codes.coap_code(status, method)) == code


@pytest.mark.parametrize("method", [GET, POST, PUT, DELETE])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308, 100, 206, 299, 600, 999])
def test_redirects_and_what_was_not_asked_for_are_a_bad_gateway(status: int, method: int) -> None:
    assert codes.coap_code(status, method) == Code.BAD_GATEWAY


@pytest.mark.rfc("7252 5.9")
def test_a_status_no_table_knows_keeps_its_class() -> None:
    assert {codes.coap_code(status) for status in (416, 418, 451, 499)} == {Code.BAD_REQUEST}
    assert {codes.coap_code(status) for status in (507, 511, 599)} == {Code.INTERNAL_SERVER_ERROR}


def test_401_is_not_the_devices_fault_when_the_proxy_showed_its_own_credentials() -> None:
    assert codes.coap_code(401) == Code.UNAUTHORIZED
    assert codes.coap_code(401, credentials_shown=True) == Code.BAD_GATEWAY


@pytest.mark.rfc("8075-7-a", "8768-5-a")
@pytest.mark.parametrize(("code", "status"), TO_HTTP.items())
def test_a_coap_code_has_its_http_status(code: str, status: int) -> None:
    number = int(code[0]) << 5 | int(code[2:])
    assert codes.http_status(number) == status


@pytest.mark.rfc("8075-7-a")
def test_a_change_without_a_payload_is_204() -> None:
    assert (codes.http_status(Code.CHANGED, payload=False), codes.http_status(Code.DELETED, payload=False)) == (
        204,
        204,
    )


def test_an_unknown_coap_code_is_its_class_and_no_response_is_a_broken_server() -> None:
    assert [codes.http_status(code) for code in (2 << 5 | 30, 4 << 5 | 30, 5 << 5 | 30)] == [200, 400, 500]
    assert [codes.http_status(code) for code in (0, 1, 1 << 5, 3 << 5, 7 << 5)] == [502] * 5


def test_the_hand_written_tables_cover_every_row() -> None:
    rows = {(method, status) for method, row in codes.SUCCESS_TO_COAP.items() for status in row}
    rows |= {(GET, status) for status in codes.FAILURE_TO_COAP}
    assert rows == set(TO_COAP)
    assert {dotted(code) for code in codes.COAP_TO_HTTP} == set(TO_HTTP)


@pytest.mark.rfc("7252-10.1.1-b")
@pytest.mark.parametrize(("number", "text"), media.MEDIA_TYPES.items())
def test_a_content_format_and_its_media_type_name_each_other(number: int, text: str) -> None:
    assert media.media_type(number) == text
    assert media.content_format(text) == number
    assert media.content_format(text.upper()) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("text/plain", 0),
        ("text/plain;charset=UTF-8", 0),
        ('text/plain; charset="utf-8"', 0),
        ("text/plain; charset=us-ascii", 0),
        ("text/plain; charset=iso-8859-1", None),
        ("text/html", None),
        ("text/xml", 41),
        ("application/json; charset=utf-8", 50),
        ("application/problem+json", None),
        ("application/gzip", None),
        ("application/cose", None),
        ("application/coap-payload;cf=65000", 65000),
        ("application/coap-payload; cf=70000", None),
        ("application/coap-payload;cf=x", None),
        ("application/coap-payload", None),
        ("", None),
        (";;;=", None),
    ],
)
def test_a_content_type_is_read_as_servers_write_it_and_nothing_is_invented(text: str, number: int | None) -> None:
    assert media.content_format(text) == number


@pytest.mark.rfc("8075 6.3")
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("application/problem+json", 50),
        ("application/atom+xml", 41),
        ("application/x+cbor", 60),
        ("text/html", 0),
        ("text/html; charset=latin-1", None),
        ("image/webp", None),
        ("application/senml+json", 110),
    ],
)
def test_a_loose_reading_takes_a_type_for_what_it_is_a_kind_of(text: str, number: int | None) -> None:
    assert media.content_format(text, loose=True) == number


@pytest.mark.rfc("8075-6.2-a")
def test_a_number_without_a_name_travels_as_a_number() -> None:
    assert media.media_type(65000) is None
    assert media.media_type_or_number(65000) == "application/coap-payload;cf=65000"
    assert media.content_format(media.media_type_or_number(65000)) == 65000
