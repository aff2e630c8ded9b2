"""Errors know their face here: one table from code to HTTP status, and hawkBit's error body."""

import logging
from typing import Any, Final

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from update_manager import errors

logger = logging.getLogger(__name__)

STATUS: Final[dict[type[errors.UpdateManagerError], int]] = {
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.ConstraintViolation: 400,
    errors.RsqlSyntaxError: 400,
    errors.RsqlUnknownField: 400,
    errors.IllegalRolloutState: 400,
    errors.EmptyRollout: 400,
    errors.ActionClosed: 410,
    errors.ActionNotCancelable: 405,
    errors.ActionNotForceQuitable: 405,
    errors.IncompleteDistributionSet: 400,
    errors.IncompatibleTargetType: 400,
    errors.ImageRefused: 400,
    errors.QuotaExceeded: 429,
    errors.FileTooLarge: 429,
    errors.ArtifactBinaryMissing: 410,
    errors.NotAuthenticated: 401,
    errors.StorageFull: 507,
    errors.ChecksumMismatch: 400,
    errors.InvalidSortField: 400,
    errors.InvalidSortDirection: 400,
    errors.InvalidSortSyntax: 400,
    errors.MalformedBody: 400,
    errors.UnsupportedModule: 400,
    errors.NotSupportedYet: 400,
    errors.TooManyTries: 429,
    errors.EntityLocked: 423,
    errors.ServiceUnavailable: 503,
    errors.UnsupportedMediaType: 415,
}
_UNREADABLE: Final = ("json_invalid", "missing", "literal_error", "_type", "_parsing")
_LIMITS: Final = ("ConstraintViolation", errors.ConstraintViolation.code)
# What PostgreSQL says (SQLSTATE) when a check in code was overtaken by another request.
_INTEGRITY: Final[dict[str, tuple[int, type[errors.UpdateManagerError], str]]] = {
    "23505": (409, errors.AlreadyExists, "something with that name or key exists already"),
    "23503": (404, errors.NotFound, "something the request names does not exist, or is still in use"),
}
AWAY: Final = "a server this service depends on does not answer; nothing was changed, try again in a moment"


def body(kind: str, code: str, message: str, info: dict[str, Any] | None = None) -> dict[str, Any]:
    """hawkBit's ExceptionInfo; `info` is left out when empty."""
    problem: dict[str, Any] = {
        "exceptionClass": f"updraft.{kind}",
        "errorCode": f"hawkbit.server.error.{code}",
        "message": message,
    }
    return {**problem, "info": info} if info else problem


def install(app: FastAPI) -> None:
    """Give the application its error faces."""

    @app.exception_handler(errors.UpdateManagerError)
    async def named(_: Request, error: errors.UpdateManagerError) -> JSONResponse:
        status = STATUS.get(type(error), 500)
        headers = {"WWW-Authenticate": 'Basic realm="hawkBit"'} if status == 401 else {}
        answer = body(type(error).__name__, error.code, error.message, error.info)
        return JSONResponse(answer, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        in_body = any(item["loc"][:1] == ("body",) for item in found)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
        if in_body and has_body and not kind.endswith(("/json", "+json")):
            text = f"send application/json, not {kind[:60] or 'a body without a content type'}"
            return JSONResponse(body("UnsupportedMediaType", errors.UnsupportedMediaType.code, text), 415)
        # hawkBit tells what cannot be read (syntax, types, missing members) from what is outside its limits.
        unreadable = in_body and any(item["type"].endswith(_UNREADABLE) for item in found)
        name, code = ("MalformedBody", "rest.body.notReadable") if unreadable else _LIMITS
        text = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in found[:5])
        return JSONResponse(body(name, code, text), 400)

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> JSONResponse:
        answer = body("HttpError", f"http.{error.status_code}", str(error.detail))
        return JSONResponse(answer, error.status_code, error.headers)

    async def away(_: Request, error: Exception) -> JSONResponse:
        logger.warning("a dependency is away: %s", type(error).__name__)
        return JSONResponse(body("ServiceUnavailable", "serviceUnavailable", AWAY), 503, {"Retry-After": "5"})

    for kind in (OperationalError, InterfaceError, PoolTimeout, redis.RedisError, ConnectionError):
        app.add_exception_handler(kind, away)

    @app.exception_handler(DBAPIError)
    async def refused(request: Request, error: DBAPIError) -> JSONResponse:
        if error.connection_invalidated:
            return await away(request, error)
        if type(error).__name__ == "DataError":
            # Text with NUL, a number beyond its column: the request's fault, seen late.
            return JSONResponse(
                body("ConstraintViolation", "repo.constraintViolation", "a value cannot be stored"), 400
            )
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _INTEGRITY:
            status, kind, text = _INTEGRITY[state]
            return JSONResponse(body(kind.__name__, kind.code, text), status)
        return unnamed(error)

    @app.exception_handler(Exception)
    async def anything(_: Request, error: Exception) -> JSONResponse:
        return unnamed(error)


def unnamed(error: Exception) -> JSONResponse:
    """What we cannot name falls loudly: into the log, and as 500 without details."""
    logger.error("unexpected error", exc_info=error)
    text = "an unexpected error; the service's log has the details"
    return JSONResponse(body("GenericError", "repo.genericError", text), 500)
