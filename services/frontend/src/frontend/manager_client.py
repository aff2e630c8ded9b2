"""The one way out: the update manager's REST API, as calls that return JSON or raise what happened."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

Json = dict[str, Any]
PAGE = 100
STORAGE_FULL = 507


class ManagerError(Exception):
    """Base of what can go wrong between the console and the update manager."""


class NotSignedIn(ManagerError):
    """No token, or the update manager no longer accepts it (401)."""


class Unreachable(ManagerError):
    """No answer, a late one, or a server error; `detail` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Refused(ManagerError):
    """The update manager said no (4xx, 507): `message` for people, `code` and `info` for programs."""

    def __init__(self, status: int, message: str, code: str = "", info: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.info: Mapping[str, Any] = info or {}


class ManagerClient:
    """Calls in the name of one operator. Paths are relative to `/rest/v1`; timestamps are epoch milliseconds."""

    def __init__(self, http: httpx.AsyncClient, token: str | None) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str, **params: Any) -> Any:
        """JSON of `path`; an empty answer (204) is None. Raises NotSignedIn, Unreachable, Refused."""
        given = {name: value for name, value in params.items() if value not in (None, "")}
        return await self._call("GET", path, params=given)

    async def post(self, path: str, body: Any = None) -> Any:
        """JSON of the answer, or None. Raises NotSignedIn, Unreachable, Refused."""
        return await self._call("POST", path, json=body)

    async def sign_in(self, username: str, password: str) -> Json:
        """`{token, expiresAt, username}`. Raises Refused(401) for a wrong name or password, Unreachable."""
        try:
            answer: Json = await self.post("/sessions", {"username": username, "password": password})
        except NotSignedIn as error:
            raise Refused(401, "The name or the password is wrong.") from error
        return answer

    async def sign_out(self) -> None:
        """Ends the session; one that has ended already is fine."""
        try:
            await self._call("DELETE", "/sessions/current")
        except (NotSignedIn, Refused):
            return

    async def upload_release(
        self, filename: str, content: BinaryIO, fields: Mapping[str, str], timeout_seconds: float
    ) -> Json:
        """The new release. Raises Refused with info{reason, hint, where} when the image is not acceptable."""
        answer: Json = await self._call(
            "POST",
            "/releases",
            files={"file": (filename, content, "application/octet-stream")},
            data={name: value for name, value in fields.items() if value},
            timeout=timeout_seconds,
        )
        return answer

    @asynccontextmanager
    async def lines(self, path: str, silence_seconds: float) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of an event stream; ends with Unreachable when nothing comes for `silence_seconds`."""
        timeout = httpx.Timeout(self._http.timeout.connect, read=silence_seconds)
        headers = {**self._headers, "Accept": "text/event-stream"}
        try:
            async with self._http.stream("GET", f"/rest/v1{path}", headers=headers, timeout=timeout) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _raise(response)
                yield response.aiter_lines()
        except httpx.HTTPError as error:
            raise Unreachable(type(error).__name__) from error

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = await self._http.request(method, f"/rest/v1{path}", headers=self._headers, **options)
        except httpx.HTTPError as error:
            raise Unreachable(type(error).__name__) from error
        if response.status_code >= 300:
            _raise(response)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError as error:
            raise Unreachable("the answer was no JSON") from error


def segment(value: str | int) -> str:
    """`value` as one path segment; controller ids may hold slashes and question marks."""
    return quote(str(value), safe="")


def _raise(response: httpx.Response) -> None:
    status = response.status_code
    if status == 401:
        raise NotSignedIn
    if status < 400 or (status >= 500 and status != STORAGE_FULL):
        raise Unreachable(f"HTTP {status}")
    try:
        body = response.json()
    except ValueError:
        body = None
    error: Mapping[str, Any] = body if isinstance(body, dict) else {}
    message = str(error.get("message") or error.get("detail") or f"The update manager answered {status}.")
    info = error.get("info")
    raise Refused(
        status,
        message[:1].upper() + message[1:],
        str(error.get("errorCode") or ""),
        info if isinstance(info, dict) else None,
    )
