"""HTTP status to CoAP response code (RFC 8075 table 2, RFC 7252 section 10.1), as data."""

from typing import Final

from coap_wire import Code

HTTP_TO_COAP: Final[dict[int, int]] = {
    200: Code.CONTENT,
    206: Code.CONTENT,
    304: Code.VALID,
    400: Code.BAD_REQUEST,
    401: Code.UNAUTHORIZED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.NOT_ACCEPTABLE,
    408: Code.GATEWAY_TIMEOUT,
    409: Code.CONFLICT,
    410: Code.NOT_FOUND,
    412: Code.PRECONDITION_FAILED,
    413: Code.REQUEST_ENTITY_TOO_LARGE,
    415: Code.UNSUPPORTED_CONTENT_FORMAT,
    422: Code.UNPROCESSABLE_ENTITY,
    429: Code.TOO_MANY_REQUESTS,
    500: Code.INTERNAL_SERVER_ERROR,
    501: Code.NOT_IMPLEMENTED,
    502: Code.BAD_GATEWAY,
    503: Code.SERVICE_UNAVAILABLE,
    504: Code.GATEWAY_TIMEOUT,
}


def coap_code(status: int) -> int:
    """The code for an HTTP status; a status the table does not know keeps its class, redirects become 5.02."""
    if status in HTTP_TO_COAP:
        return HTTP_TO_COAP[status]
    if 400 <= status < 500:
        return Code.BAD_REQUEST
    return Code.CONTENT if 200 <= status < 300 else Code.BAD_GATEWAY
