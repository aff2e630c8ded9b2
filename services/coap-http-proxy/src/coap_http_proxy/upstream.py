"""Fetching from upstream: once per artifact however many ask, resumed when it breaks, verified before it is served."""

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiocoap
import httpx

from coap_http_proxy.blobs import Blob, BlobStore, blob_of
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.codes import coap_code
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.tickets import Ticket
from coap_wire import Code

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
SMALL_CACHE_SECONDS = 30.0
# What strangers may make this process hold in memory: representations asked for by Proxy-Uri, each and together.
MAX_REPRESENTATION_BYTES = 16 << 20
MAX_SMALL_CACHE_BYTES = 64 << 20
MAX_REPRESENTATIONS_AT_ONCE = 8


@dataclass
class UpstreamStats:
    """Counters for statistics and metrics; bytes are payload bytes received."""

    requests: int = 0
    bytes: int = 0
    failures: int = 0


@dataclass
class Upstream:
    """Everything that is asked of somebody else. `bases` is the allow-list.

    `authorization` goes along for tickets only: what a stranger names by Proxy-Uri is asked for as a stranger would.
    """

    client: httpx.AsyncClient
    store: BlobStore
    bases: tuple[uris.Base, ...]
    authorization: str | None
    max_bytes: int
    timeout_seconds: float
    stats: UpstreamStats = field(default_factory=UpstreamStats)
    _flights: dict[str, "asyncio.Task[Blob]"] = field(default_factory=dict)
    _small: dict[str, tuple[float, Blob]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_REPRESENTATIONS_AT_ONCE))
    _coap: aiocoap.Context | None = None

    async def artifact(self, ticket: Ticket) -> Blob:
        """The ticket's blob from disk or from upstream; raises Refusal."""
        blob = self.store.get(ticket.sha256)
        if blob is not None:
            return blob
        return await self._single_flight(ticket.sha256, lambda: self._fetch(ticket))

    async def representation(self, uri: str) -> Blob:
        """What an allowed URI stands for, whole; kept for a short time so that its blocks agree. Raises Refusal."""
        try:
            base = uris.allowed(uri, self.bases)
        except uris.ForbiddenUri as error:
            raise Refusal(Code.BAD_REQUEST if error.malformed else Code.FORBIDDEN, str(error)) from error
        now = asyncio.get_running_loop().time()
        for key in [key for key, (until, _) in self._small.items() if until < now]:
            del self._small[key]
        if uri in self._small:
            return self._small[uri][1]
        ask = self._ask_coap if base.scheme == "coap" else self._ask_http
        return await self._single_flight(uri, lambda: self._ask_in_turn(uri, ask))

    async def _ask_in_turn(self, uri: str, ask: Callable[[str], Coroutine[Any, Any, Blob]]) -> Blob:
        async with self._turns:
            blob = await ask(uri)
        self._small[uri] = (asyncio.get_running_loop().time() + SMALL_CACHE_SECONDS, blob)
        while sum(kept.size for _, kept in self._small.values()) > MAX_SMALL_CACHE_BYTES:
            del self._small[next(iter(self._small))]
        return blob

    async def _single_flight(self, key: str, start: Callable[[], Coroutine[Any, Any, Blob]]) -> Blob:
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(asyncio.wait_for(start(), self.timeout_seconds))
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        try:
            # One impatient device must not cancel the fetch for all the others.
            return await asyncio.shield(task)
        except TimeoutError as error:
            raise Refusal(Code.GATEWAY_TIMEOUT, "the upstream took too long") from error

    def _landed(self, key: str, task: "asyncio.Task[Blob]") -> None:
        self._flights.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            self.stats.failures += 1
            logger.warning("upstream fetch failed: %s", task.exception())

    async def _fetch(self, ticket: Ticket) -> Blob:
        try:
            uris.allowed(ticket.url, self.bases)
        except uris.ForbiddenUri as error:
            raise Refusal(Code.BAD_GATEWAY, "the ticket's upstream is not allowed here") from error
        if ticket.size > self.max_bytes:
            raise Refusal(Code.REQUEST_ENTITY_TOO_LARGE, f"artifacts over {self.max_bytes} bytes are not proxied")
        if shutil.disk_usage(self.store.folder).free < ticket.size * 2:
            raise Refusal(Code.SERVICE_UNAVAILABLE, "the proxy's disk is full")
        part = self.store.part(ticket.sha256)
        try:
            await self._download(ticket, part)
            return self.store.keep(part, ticket.sha256)
        except OSError as error:
            raise Refusal(Code.SERVICE_UNAVAILABLE, f"the proxy's disk fails: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    async def _download(self, ticket: Ticket, part: Path) -> None:
        digest = hashlib.sha256()
        received = 0
        with part.open("wb") as file:
            for attempt in range(len(RETRY_SECONDS) + 1):
                try:
                    headers = {**self._headers(), **({"Range": f"bytes={received}-"} if received else {})}
                    if self.authorization:
                        headers["Authorization"] = self.authorization
                    self.stats.requests += 1
                    async with self.client.stream("GET", ticket.url, headers=headers) as answer:
                        if answer.status_code == 200 and received:
                            digest, received = hashlib.sha256(), 0
                            file.seek(0)
                            file.truncate()
                        elif answer.status_code not in (200, 206):
                            self._refuse(answer.status_code)
                        async for chunk in answer.aiter_raw(CHUNK_BYTES):
                            received += len(chunk)
                            self.stats.bytes += len(chunk)
                            if received > ticket.size:
                                raise Refusal(Code.BAD_GATEWAY, "the upstream sent more than the ticket's size")
                            digest.update(chunk)
                            file.write(chunk)
                except (httpx.TransportError, httpx.StreamError, _Retry) as error:
                    if attempt == len(RETRY_SECONDS):
                        raise Refusal(Code.BAD_GATEWAY, f"the upstream broke off: {type(error).__name__}") from error
                    await asyncio.sleep(RETRY_SECONDS[attempt])
                    continue
                if received == ticket.size:
                    break
        if received != ticket.size or digest.hexdigest() != ticket.sha256:
            raise Refusal(Code.BAD_GATEWAY, "the upstream's bytes are not the artifact's (SHA-256 differs)")

    def _headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "identity"}

    def _refuse(self, status: int) -> None:
        if status in (429, 500, 502, 503, 504):
            raise _Retry
        # The device chose neither URL nor credentials: only "it is gone" is news for it, all else is ours to mend.
        code = Code.NOT_FOUND if status in (404, 410) else Code.BAD_GATEWAY
        raise Refusal(code, f"the upstream answered {status}")

    async def _ask_http(self, uri: str) -> Blob:
        self.stats.requests += 1
        data = bytearray()
        try:
            async with self.client.stream("GET", uri, headers=self._headers()) as answer:
                if answer.status_code != 200:
                    raise Refusal(coap_code(answer.status_code), f"the upstream answered {answer.status_code}")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    # Not asked for; and what a few bytes would grow to is not known beforehand.
                    raise Refusal(Code.BAD_GATEWAY, "the upstream's answer is compressed")
                limit = min(self.max_bytes, MAX_REPRESENTATION_BYTES)
                async for chunk in answer.aiter_raw(CHUNK_BYTES):
                    data += chunk
                    self.stats.bytes += len(chunk)
                    if len(data) > limit:
                        raise Refusal(Code.BAD_GATEWAY, f"the answer is over {limit} bytes")
                kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        except httpx.InvalidURL as error:
            raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise Refusal(Code.BAD_GATEWAY, f"the upstream did not answer: {type(error).__name__}") from error
        return blob_of(bytes(data), {"text/plain": 0, "application/json": 50, "application/cbor": 60}.get(kind, 42))

    async def _ask_coap(self, uri: str) -> Blob:
        if self._coap is None:
            self._coap = await aiocoap.Context.create_client_context()
        self.stats.requests += 1
        try:
            request = aiocoap.Message(code=aiocoap.GET, uri=uri)
        except ValueError as error:
            raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
        try:
            answer = await self._coap.request(request).response
        except (aiocoap.error.Error, OSError) as error:
            raise Refusal(Code.BAD_GATEWAY, f"the upstream did not answer: {type(error).__name__}") from error
        if not answer.code.is_successful():
            raise Refusal(int(answer.code), "the upstream's own answer")
        self.stats.bytes += len(answer.payload)
        return blob_of(answer.payload, int(answer.opt.content_format or 42))

    async def close(self) -> None:
        """Let go of connections."""
        for task in self._flights.values():
            task.cancel()
        if self._coap is not None:
            await self._coap.shutdown()
        await self.client.aclose()


class _Retry(Exception):
    """An answer worth asking again for."""
