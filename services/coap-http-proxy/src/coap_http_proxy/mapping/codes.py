"""HTTP status to CoAP response code and back (RFC 7252 section 10.1, RFC 8075 section 7, RFCs 8132 and 8768), as data.

Where RFC 7252 is silent the row is ours; the reason stands beside it.
"""

from typing import Final

from coap_wire import Code

# What a success means depends on what was asked (RFC 7252 sections 10.1.1 to 10.1.4).
SUCCESS_TO_COAP: Final[dict[int, dict[int, int]]] = {
    Code.GET: {200: Code.CONTENT, 203: Code.CONTENT, 204: Code.CONTENT, 304: Code.VALID},
    Code.PUT: {200: Code.CHANGED, 201: Code.CREATED, 202: Code.CHANGED, 204: Code.CHANGED, 205: Code.CHANGED},
    Code.POST: {200: Code.CHANGED, 201: Code.CREATED, 202: Code.CHANGED, 204: Code.CHANGED, 205: Code.CHANGED},
    Code.DELETE: {
        200: Code.DELETED,
        202: Code.DELETED,
        204: Code.DELETED,
        # What is not there is deleted (RFC 7252 sections 5.8.4 and 10.1.3).
        404: Code.DELETED,
        410: Code.DELETED,
    },
}
FAILURE_TO_COAP: Final[dict[int, int]] = {
    400: Code.BAD_REQUEST,
    401: Code.UNAUTHORIZED,
    402: Code.BAD_REQUEST,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    406: Code.NOT_ACCEPTABLE,
    # The device has no HTTP proxy's credentials and never will.
    407: Code.BAD_GATEWAY,
    # The proxy was too slow for its upstream; for the device that is the upstream's time-out.
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
    505: Code.NOT_IMPLEMENTED,
    # A loop that HTTP found (RFC 8768 section 5 maps the other way).
    508: Code.HOP_LIMIT_REACHED,
}

# CoAP to HTTP, RFC 8075 table 2. 2.02 and 2.04 without a payload are 204: see `http_status`.
COAP_TO_HTTP: Final[dict[int, int]] = {
    Code.CREATED: 201,
    Code.DELETED: 200,
    Code.VALID: 304,
    Code.CHANGED: 200,
    Code.CONTENT: 200,
    Code.BAD_REQUEST: 400,
    # 401 would need a WWW-Authenticate that CoAP does not carry (RFC 8075 table 2, note 5).
    Code.UNAUTHORIZED: 403,
    # The HTTP client chose no options: the proxy did, so the blame is its own (note 6).
    Code.BAD_OPTION: 500,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    # 405 would need an Allow that CoAP does not carry (note 7).
    Code.METHOD_NOT_ALLOWED: 400,
    Code.NOT_ACCEPTABLE: 406,
    # Blocks are the proxy's business; the HTTP client sent its request whole.
    Code.REQUEST_ENTITY_INCOMPLETE: 502,
    Code.CONFLICT: 409,
    Code.PRECONDITION_FAILED: 412,
    Code.REQUEST_ENTITY_TOO_LARGE: 413,
    Code.UNSUPPORTED_CONTENT_FORMAT: 415,
    Code.UNPROCESSABLE_ENTITY: 422,
    Code.TOO_MANY_REQUESTS: 429,
    Code.INTERNAL_SERVER_ERROR: 500,
    Code.NOT_IMPLEMENTED: 501,
    Code.BAD_GATEWAY: 502,
    Code.SERVICE_UNAVAILABLE: 503,
    Code.GATEWAY_TIMEOUT: 504,
    Code.PROXYING_NOT_SUPPORTED: 502,
    Code.HOP_LIMIT_REACHED: 508,
}


def coap_code(status: int, method: int = Code.GET, *, credentials_shown: bool = False) -> int:
    """The code for an HTTP status that answered `method` (GET, POST, PUT or DELETE; FETCH counts as GET).

    A status no table knows keeps its class; redirects and what only a proxy can have caused become 5.02. 401 means the
    device only when the proxy showed no credentials of its own (`credentials_shown`): else it is ours to mend.
    """
    success = SUCCESS_TO_COAP.get(method, SUCCESS_TO_COAP[Code.GET])
    if status in success:
        return success[status]
    if status == 401 and credentials_shown:
        return Code.BAD_GATEWAY
    if status in FAILURE_TO_COAP:
        return FAILURE_TO_COAP[status]
    if 400 <= status < 500:
        return Code.BAD_REQUEST
    # 206 was not asked for, a redirect CoAP does not have, and what is no HTTP status is a broken upstream.
    return Code.INTERNAL_SERVER_ERROR if 500 <= status < 600 else Code.BAD_GATEWAY


def http_status(code: int, *, payload: bool = True) -> int:
    """The HTTP status for a CoAP response code; `payload`: the response carries a body (RFC 8075 table 2, note 1)."""
    if code in (Code.DELETED, Code.CHANGED) and not payload:
        return 204
    if code in COAP_TO_HTTP:
        return COAP_TO_HTTP[code]
    # RFC 7252 section 5.9: an unknown code is its class's x.00; what is no response at all is a broken server.
    return {2: 200, 4: 400, 5: 500}.get(code >> 5, 502)
