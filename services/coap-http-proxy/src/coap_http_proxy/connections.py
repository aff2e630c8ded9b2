"""HTTP/1.1 connections to upstreams, kept for the next request: an httpx transport on asyncio's streams and h11.

httpx brings one of its own, which looks at every connection it holds, with a system call each, whenever one request
begins or ends: with 64 requests under way that cost ten times what the rest of such a request costs
(docs/benchmarks.md). This one keeps idle connections in a list for each origin and takes the youngest.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

import h11
import httpx

READ_BYTES: Final = 64 << 10
# A head may be longer by one read, but not more.
MAX_HEAD_BYTES: Final = 64 << 10
# More 1xx before the answer than any server has reason to send.
MAX_INFORMATIONAL: Final = 8

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# Opens a connection to a host's port, with TLS when a context is given; raises OSError.
Connect = Callable[[str, int, ssl.SSLContext | None], Awaitable[Streams]]
Origin = tuple[str, str, int]
# The extension of a request that must not be sent on a connection that lay idle.
FRESH: Final = "fresh_connection"


@dataclass(eq=False)
class _Connection:
    """One connection and where its conversation stands."""

    origin: Origin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection
    idle_since: float = 0.0

    async def send(self, request: httpx.Request, seconds: float | None) -> None:
        """Write the request with its body."""
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=[(n, v) for n, v in request.headers.raw]
        )
        self.writer.write(self.http.send(head) or b"")
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            self.writer.write(self.http.send(h11.Data(data=piece)) or b"")
            async with asyncio.timeout(seconds):
                await self.writer.drain()
        self.writer.write(self.http.send(h11.EndOfMessage()) or b"")
        async with asyncio.timeout(seconds):
            await self.writer.drain()

    async def event(self, seconds: float | None) -> h11.Event | type[h11.PAUSED]:
        """The next part of the answer."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(seconds):
                self.http.receive_data(await self.reader.read(READ_BYTES))
        return event  # type: ignore[return-value]

    async def head(self, seconds: float | None) -> h11.Response:
        """Status and headers."""
        for _ in range(MAX_INFORMATIONAL):
            event = await self.event(seconds)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                break
        raise h11.RemoteProtocolError("no answer begins here")

    def reusable(self) -> bool:
        """Whether the answer came to its end, nothing lies behind it, and both sides mean to go on."""
        if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE or self.http.trailing_data[0]:
            return False
        self.http.start_next_cycle()
        return True

    def close(self) -> None:
        """Let go at once."""
        self.writer.transport.abort()


@dataclass(eq=False)
class Connections(httpx.AsyncBaseTransport):
    """At most `limits.max_connections` at once to one origin: where one is silent, others are asked. Who finds them all
    taken waits for at most the pool timeout of its request."""

    connect: Connect
    context: ssl.SSLContext
    limits: httpx.Limits
    clock: Callable[[], float] = time.monotonic
    _idle: dict[Origin, list[_Connection]] = field(default_factory=dict)
    _turns: "WeakValueDictionary[Origin, asyncio.Semaphore]" = field(default_factory=WeakValueDictionary)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and the head of its answer; raises httpx.TransportError."""
        seconds = request.extensions.get("timeout", {})
        connection: _Connection | None = None
        origin = _origin(request.url)
        turn = self._turns.setdefault(origin, asyncio.Semaphore(self.limits.max_connections or 100))
        async with _named(httpx.PoolTimeout, request), asyncio.timeout(seconds.get("pool")):
            await turn.acquire()
        try:
            async with _named(httpx.ConnectTimeout, request, httpx.ConnectError):
                if not request.extensions.get(FRESH):
                    connection = self._youngest(origin)
                connection = connection or await self._opened(origin, seconds.get("connect"))
            async with _named(httpx.WriteTimeout, request, httpx.WriteError):
                await connection.send(request, seconds.get("write"))
            async with _named(httpx.ReadTimeout, request, httpx.ReadError):
                head = await connection.head(seconds.get("read"))
        except BaseException:
            self._done(connection, turn, keep=False)
            raise
        body = _Body(self, connection, turn, request, seconds.get("read"))
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=body)

    def _youngest(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if self._fit(connection):
                return connection
            connection.close()
        return None

    def _fit(self, connection: _Connection) -> bool:
        """Whether an idle connection may carry another request."""
        # What an idle upstream sent, be it only that it closes, makes its connection of no use.
        buffered = connection.reader.at_eof() or connection.writer.is_closing() or _has_bytes(connection.reader)
        return not buffered and self.clock() - connection.idle_since < (self.limits.keepalive_expiry or 0.0)

    def _has_room(self) -> bool:
        """Whether one more may be kept; what is of no use any more makes room, whosever it is."""
        most = self.limits.max_keepalive_connections
        if most is None or sum(map(len, self._idle.values())) < most:
            return True
        for origin, idle in list(self._idle.items()):
            self._idle[origin] = fit = [connection for connection in idle if self._fit(connection)]
            for connection in idle:
                if connection not in fit:
                    connection.close()
        return sum(map(len, self._idle.values())) < most

    async def _opened(self, origin: Origin, seconds: float | None) -> _Connection:
        scheme, host, port = origin
        async with asyncio.timeout(seconds):
            reader, writer = await self.connect(host, port, self.context if scheme == "https" else None)
        return _Connection(origin, reader, writer, h11.Connection(h11.CLIENT, MAX_HEAD_BYTES))

    def _done(self, connection: _Connection | None, turn: asyncio.Semaphore, keep: bool) -> None:
        """A request is over: keep its connection, or close it."""
        turn.release()
        if connection is None:
            return
        if keep and self._has_room() and connection.reusable():
            connection.idle_since = self.clock()
            self._idle.setdefault(connection.origin, []).append(connection)
        else:
            connection.close()

    async def aclose(self) -> None:
        """Close what is idle; what is in use closes with its answer."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


@dataclass(eq=False)
class _Body(httpx.AsyncByteStream):
    """The body of an answer; closed before its end, it takes its connection along."""

    pool: Connections
    connection: _Connection
    turn: asyncio.Semaphore
    request: httpx.Request
    seconds: float | None
    _open: bool = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            async with _named(httpx.ReadTimeout, self.request, httpx.ReadError):
                event = await self.connection.event(self.seconds)
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self.pool._done(self.connection, self.turn, keep=True)


def _origin(url: httpx.URL) -> Origin:
    # Not `host`, which is the Unicode form: the resolver's IDNA makes another name of some of those.
    return url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def _has_bytes(reader: asyncio.StreamReader) -> bool:
    # asyncio has no question for this; without it a byte sent too early would begin the next answer.
    return bool(reader._buffer)  # type: ignore[attr-defined]


@asynccontextmanager
async def _named(
    late: type[httpx.TimeoutException], request: httpx.Request, broken: type[httpx.TransportError] | None = None
) -> AsyncIterator[None]:
    """Failures by httpx's names."""
    try:
        yield
    except TimeoutError as error:
        raise late(f"{request.url.host} took too long", request=request) from error
    except OSError as error:
        raise (broken or httpx.NetworkError)(str(error), request=request) from error
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error), request=request) from error
