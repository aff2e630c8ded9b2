"""The HTTP side: `/hc` asks a CoAP server, `/.well-known/core` tells how (RFC 8075); a plain ASGI application.

Never an open proxy: a target has to be on the allow-list, and its host to lead where the guard lets it. What a device
sends is shown to browsers as inert data.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from weakref import WeakValueDictionary

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from coap_http_proxy.coap_client import transfer
from coap_http_proxy.coap_client.exchange import BadAnswer, NoAnswer, endpoint
from coap_http_proxy.http_face import targets, translation
from coap_http_proxy.mapping import uris
from coap_wire import Code, Message

logger = logging.getLogger(__name__)

# The address to connect to for a host and port; raises OSError.
Resolve = Callable[[str, int], Awaitable[tuple[str, int]]]

MAX_CONNECTIONS = 128
MAX_HEAD_BYTES = 16 << 10
BODY_SECONDS = 30.0
# A device's bytes never run as a page of this origin, whatever type they claim.
INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}


@dataclass(eq=False)
class HttpFace:
    """Answers HTTP requests; `bases` are the CoAP upstreams that may be asked, limits are bytes and seconds."""

    bases: tuple[uris.Base, ...]
    resolve: Resolve
    max_request_bytes: int
    max_response_bytes: int
    timeout_seconds: float
    # What this proxy calls itself in Via: who comes back with it has run in a circle.
    name: str = ""
    statuses: dict[int, int] = field(default_factory=dict)
    # RFC 7252 section 4.7, NSTART: one question at a time for each device.
    _turns: "WeakValueDictionary[tuple[str, int], asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert scope["type"] == "http"
        request = Request(scope, receive)
        try:
            if scope["path"] == "/.well-known/core":
                response = _directory(request)
            elif scope["path"] == targets.BASE_PATH or scope["path"].startswith(targets.BASE_PATH + "/"):
                await self._ask(request, send)
                return
            else:
                response = PlainTextResponse(f"{targets.BASE_PATH}/ is what is here; see /.well-known/core\n", 404)
        except ClientDisconnect:
            return
        except translation.Refused as refused:
            self._count(refused.status)
            response = PlainTextResponse(f"{refused.reason}\n", refused.status, INERT)
        await response(scope, receive, send)

    def _count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    async def _ask(self, request: Request, send: Send) -> None:
        """One request, to the end of its response; raises Refused before the first byte of one."""
        if self.name and self.name in request.headers.get("via", ""):
            raise translation.Refused(508, "the request has been here already")  # RFC 9110 section 7.6.3
        uri, target = self._target(request)
        body = await self._body(request)
        message = translation.request_of(request.method, _headers(request), target, has_body=bool(body))
        with _blame():
            address = await self.resolve(target.host, target.port)
            if ip_address(address[0]).is_multicast:
                raise translation.Refused(403, "groups of devices are not asked")  # RFC 8075 section 8.4
            turn = self._turns.setdefault(address, asyncio.Lock())
            async with self._asking(address, turn) as ask:
                first = await transfer.send(ask, message, body)
                size = transfer.announced_bytes(first)
                if size is not None and size > self.max_response_bytes:
                    raise BadAnswer(f"the response is over {self.max_response_bytes} bytes")
                # A 2.03 says that the client's copy is good: it has no body in HTTP whatever came along.
                has_body = bool(first.payload) and first.code != Code.VALID
                parts = transfer.receive(ask, message, first, self.max_response_bytes)
                head = await anext(parts) if has_body else b""
                face = translation.response_of(first, uri, has_body=has_body)
                response = Response(head, face.status, face.headers | INERT)
                self._count(face.status)
                if has_body and transfer.more_follow(first):
                    await _stream(request, send, response, parts)
                else:
                    await response(request.scope, request.receive, send)

    def _target(self, request: Request) -> tuple[str, targets.Target]:
        try:
            uri = targets.target_uri(request.scope["raw_path"].decode(), request.scope["query_string"].decode())
            uris.allowed(uri, self.bases)
            return uri, targets.parse(uri)
        except uris.ForbiddenUri as error:
            raise translation.Refused(400 if error.malformed else 403, str(error)) from error
        except (targets.NoTarget, UnicodeDecodeError) as error:
            raise translation.Refused(400, str(error)) from error

    async def _body(self, request: Request) -> bytes:
        data = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > self.max_request_bytes:
                        raise translation.Refused(413, f"a body has at most {self.max_request_bytes} bytes")
        except TimeoutError as error:
            raise translation.Refused(408, "the body took too long") from error
        return bytes(data)

    @asynccontextmanager
    async def _asking(self, address: tuple[str, int], turn: asyncio.Lock) -> AsyncIterator[transfer.Ask]:
        async with endpoint(address, turn) as device:

            async def ask(message: Message) -> Message:
                try:
                    async with asyncio.timeout(self.timeout_seconds):
                        return await device.ask(message)
                except TimeoutError as error:
                    raise NoAnswer(f"the device did not answer within {self.timeout_seconds:g} seconds") from error

            yield ask


@contextmanager
def _blame() -> Iterator[None]:
    """What goes wrong on the CoAP side, as the HTTP status it means (RFC 8075 section 7)."""
    try:
        yield
    except NoAnswer as error:
        raise translation.Refused(504, str(error)) from error
    except (BadAnswer, OSError) as error:
        raise translation.Refused(502, str(error)) from error


async def _stream(request: Request, send: Send, first: Response, parts: AsyncIterator[bytes]) -> None:
    """Pass blocks on as they come. When they break off, so does the response: the client sees that it is not whole."""
    headers = [(name, value) for name, value in first.raw_headers if name != b"content-length"]
    await send({"type": "http.response.start", "status": first.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": first.body, "more_body": request.method != "HEAD"})
    if request.method == "HEAD":
        return
    try:
        async for part in parts:
            if await request.is_disconnected():
                return
            await send({"type": "http.response.body", "body": part, "more_body": True})
    except (BadAnswer, NoAnswer) as error:
        logger.warning("a response broke off: %s", error)
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _headers(request: Request) -> dict[str, str]:
    """Lower-case names; a header sent several times is one list (RFC 9110 section 5.3)."""
    return {name: ", ".join(request.headers.getlist(name)) for name in request.headers}


def _directory(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise translation.Refused(405, "only GET")
    links = targets.directory(request.scope["query_string"].decode("latin-1"))
    return Response(links, media_type="application/link-format")


class _Server(uvicorn.Server):
    """A server that leaves signals to the process it is part of."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening(host: str, port: int) -> socket.socket:
    # By its protocol number asyncio knows TCP and switches Nagle's waiting off; `socket.create_server` leaves it zero,
    # and a client on a connection kept open then waits 40 ms for each body.
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen()
    return made


@asynccontextmanager
async def serving(face: HttpFace, host: str, port: int, drain_seconds: int) -> AsyncIterator[int]:
    """Listen for HTTP until the block ends, then let requests finish for `drain_seconds`; yields the port."""
    listening = _listening(host, port)
    server = _Server(
        uvicorn.Config(
            face,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_graceful_shutdown=drain_seconds,
        )
    )
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await task
