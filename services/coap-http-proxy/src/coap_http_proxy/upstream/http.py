"""Asking HTTP servers: one question becomes one request (RFC 7252 section 10.1), its answer a representation.

Redirects are followed for GET only, inside the allow-list only, and with the credentials of the new place. What the
upstream says about its own errors stays here: the device gets a code and a word of ours.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from coap_http_proxy.cache import Representation
from coap_http_proxy.connections import FRESH
from coap_http_proxy.mapping import freshness, headers, methods, uris
from coap_http_proxy.mapping.codes import coap_code
from coap_http_proxy.mapping.freshness import Freshness
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.mapping.reverse import Route
from coap_http_proxy.spool import Body, Room, Spool, TooLarge, pieces
from coap_http_proxy.upstream.flights import CHUNK_BYTES, UpstreamStats
from coap_wire import Code, is_success

MAX_REDIRECTS: Final = 3
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# A Last-Modified this much older than its Date is as good as a strong tag (RFC 9110 section 8.8.2.2).
STRONG_AFTER_SECONDS: Final = 60
# The body of an error is read when it is short, so that its connection can be used again.
SHORT_BYTES: Final = 16 << 10


@dataclass
class HttpOrigin:
    """`bases` is the allow-list, `credentials_for` the headers to show to one of them; `via` names this proxy."""

    client: httpx.AsyncClient
    bases: tuple[uris.Base, ...]
    credentials_for: Callable[[uris.Base], Mapping[str, str]]
    folder: Path
    room: Room
    max_bytes: int
    via: str
    stats: UpstreamStats

    async def ask(
        self,
        asked: Question,
        body: Body,
        stored: Representation | None = None,
        route: Route | None = None,
        if_match: str | None = None,
    ) -> Representation:
        """The answer, whole; `stored` itself, with a new life, when it still holds. Raises Refusal.

        `if_match` is the HTTP tag that the upstream's resource has to have now.
        """
        sent = headers.request_headers(asked, f"coap/1.0 {self.via}")
        if stored is not None and stored.validator is not None:
            sent[stored.validator[0]] = stored.validator[1]
        if if_match is not None:
            sent["if-match"] = if_match
        if body or asked.method in (Code.POST, Code.PUT):
            sent["content-length"] = str(len(body))
        try:
            async with self._answer(asked, sent, body) as (answer, shown):
                return await self._read(asked, answer, stored, route, shown)
        except httpx.InvalidURL as error:
            raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
        except httpx.TimeoutException as error:
            raise Refusal(Code.GATEWAY_TIMEOUT, "the upstream took too long", 2) from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Refusal(Code.BAD_GATEWAY, f"the upstream did not answer: {type(error).__name__}", 2) from error

    @asynccontextmanager
    async def _answer(
        self, asked: Question, sent: Mapping[str, str], body: Body
    ) -> AsyncIterator[tuple[httpx.Response, bool]]:
        """The response after redirects, its body still to be read; and whether credentials of ours were shown."""
        uri = asked.uri
        for hop in range(MAX_REDIRECTS + 1):
            try:
                credentials = self.credentials_for(uris.allowed(uri, self.bases))
            except uris.ForbiddenUri as error:
                code = Code.BAD_GATEWAY if hop else Code.BAD_REQUEST if error.malformed else Code.FORBIDDEN
                said = "the upstream leads elsewhere" if hop else str(error)
                raise Refusal(code, said, 2 if hop else None) from error
            async with self._asked_once_or_twice(asked.method, uri, {**sent, **credentials}, body) as answer:
                to = answer.headers.get("location", "")
                if asked.method != Code.GET or answer.status_code not in REDIRECTS or not to:
                    yield answer, bool(credentials)
                    return
            uri = headers.joined(uri, to)
        raise Refusal(Code.BAD_GATEWAY, "the upstream leads round and round", 2)

    @asynccontextmanager
    async def _asked_once_or_twice(
        self, method: int, uri: str, sent: Mapping[str, str], body: Body
    ) -> AsyncIterator[httpx.Response]:
        def request(fresh: bool) -> httpx.Request:
            self.stats.requests += 1
            return self.client.build_request(
                methods.TO_HTTP[method],
                uri,
                headers=dict(sent),
                content=pieces(body) if body else None,
                extensions={FRESH: fresh},
            )

        try:
            answer = await self.client.send(request(fresh=False), stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # A kept connection that the upstream closed meanwhile; others that are kept may be no better.
            if not methods.repeatable(method, sent):
                raise
            answer = await self.client.send(request(fresh=True), stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()

    async def _read(
        self, asked: Question, answer: httpx.Response, stored: Representation | None, route: Route | None, shown: bool
    ) -> Representation:
        status, now = answer.status_code, time.time()
        told = headers.answer_headers(answer.headers.items())
        if status == 304 and stored is not None:
            stored.freshness = freshness.of_http(told, now)
            return stored
        code = Code.BAD_GATEWAY if status == 304 else coap_code(status, asked.method, credentials_shown=shown)
        if not is_success(code):
            await self._leave(answer)
            life = freshness.of_failure(code, status, told, now)
            raise Refusal(code, f"the upstream answered {status}", life.seconds if life else None)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            # Not asked for; and what a few bytes would grow to is not known beforehand.
            raise Refusal(Code.BAD_GATEWAY, "the upstream's answer is compressed", 2)
        kind = headers.answered_format(told.get("content-type", ""), asked.accept)
        if asked.accept is not None and kind != asked.accept and code == Code.CONTENT:
            # RFC 7252 section 5.10.4: rather nothing than what the client cannot read.
            raise Refusal(Code.NOT_ACCEPTABLE, "the upstream has no such format")
        with Spool(self.folder, self.room, self.max_bytes) as spool:
            length = told.get("content-length", "")
            if length.isdigit() and int(length) > self.max_bytes:
                raise Refusal(Code.BAD_GATEWAY, f"the answer is over {self.max_bytes} bytes", 2)
            try:
                async for piece in answer.aiter_raw(CHUNK_BYTES):
                    self.stats.bytes += len(piece)
                    spool.write(piece)
            except TooLarge as error:
                raise Refusal(Code.BAD_GATEWAY, f"the answer is over {self.max_bytes} bytes", 2) from error
            get = code == Code.CONTENT
            return Representation(
                code,
                spool.taken_out(),
                spool.digest()[:8] if get else b"",
                kind if spool.size or get else None,
                headers.location_options(told["location"], asked.uri, route) if "location" in told else (),
                _validator(told) if get else None,
                headers.strong(told.get("etag")),
                freshness.of_http(told, now) if get else Freshness(0, shared=False),
                uri=asked.uri,
                location=headers.joined(asked.uri, told.get("location", asked.uri)),
            )

    async def _leave(self, answer: httpx.Response) -> None:
        length = answer.headers.get("content-length", "")
        if length.isdigit() and int(length) <= SHORT_BYTES:
            async for _ in answer.aiter_raw():
                pass


def _validator(told: Mapping[str, str]) -> tuple[str, str] | None:
    """The condition by which the same answer can be asked for again, unsent when it has not changed."""
    if tag := headers.strong(told.get("etag")):
        return "if-none-match", tag
    modified = freshness.date(told.get("last-modified", ""))
    dated = freshness.date(told.get("date", ""))
    if modified is not None and dated is not None and dated - modified >= STRONG_AFTER_SECONDS:
        return "if-modified-since", told["last-modified"]
    return None
