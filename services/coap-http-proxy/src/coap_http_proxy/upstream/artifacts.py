"""Firmware by ticket: fetched once however many ask, resumed when it breaks, verified before it is served."""

import asyncio
import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from io import FileIO

import httpx

from coap_http_proxy.blobs import Blob, BlobStore
from coap_http_proxy.credentials import Credentials
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.flights import Flights, UpstreamStats
from coap_wire import Code

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
LOOK_AGAIN_SECONDS = 0.05
PIECE_BYTES = 1 << 20
# Fetches one request may wait for, one after the other, when those before were of other URLs and failed.
MAX_FETCHES = 3


@dataclass
class Artifacts:
    """What tickets name. `bases` is the allow-list; `credentials` go to their own bases only."""

    client: httpx.AsyncClient
    store: BlobStore
    bases: tuple[uris.Base, ...]
    credentials: Credentials
    max_bytes: int
    timeout_seconds: float
    stats: UpstreamStats
    _flights: Flights[tuple[str, str], Blob] = field(init=False)

    def __post_init__(self) -> None:
        self._flights = Flights(self.timeout_seconds, self.stats)

    async def artifact(self, ticket: Ticket) -> Blob:
        """The ticket's blob from disk or from upstream; raises Refusal."""
        if self.store.knows(ticket.sha256) and (blob := self.store.get(ticket.sha256)):
            self.stats.artifact_hits += 1
            return blob
        own = (ticket.sha256, ticket.url)
        for _ in range(MAX_FETCHES):
            # One fetch at a time, whatever the tickets' URLs: whichever brings the artifact brings it to all.
            key = next((key for key in self._flights if key[0] == ticket.sha256), own)
            try:
                return await self._flights.join(key, lambda: self._find(ticket))
            except Refusal:
                if key == own:
                    raise
        raise Refusal(Code.SERVICE_UNAVAILABLE, "fetches by other tickets failed, and this one's turn did not come")

    async def _find(self, ticket: Ticket) -> Blob:
        """From disk, by another process that fetches it now, or from upstream: whichever comes first."""
        while True:
            # Hashing takes a second for large ones.
            blob = await asyncio.to_thread(self.store.get, ticket.sha256)
            if blob is not None:
                self.stats.artifact_hits += 1
                return blob
            self._check(ticket)
            try:
                file = self.store.take_part(ticket.sha256)
            except OSError as error:
                raise _disk_fails(error) from error
            if file is None:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                continue
            with file:
                # Between the two looks another process may have finished.
                if not (self.store.folder / ticket.sha256).exists():
                    return await self._fetch(ticket, file)
                self.store.part(ticket.sha256).unlink(missing_ok=True)

    def _check(self, ticket: Ticket) -> None:
        try:
            uris.allowed(ticket.url, self.bases)
        except uris.ForbiddenUri as error:
            raise Refusal(Code.BAD_GATEWAY, "the ticket's upstream is not allowed here") from error
        if ticket.size > self.max_bytes:
            raise Refusal(Code.REQUEST_ENTITY_TOO_LARGE, f"artifacts over {self.max_bytes} bytes are not proxied")
        if shutil.disk_usage(self.store.folder).free < ticket.size * 2:
            raise Refusal(Code.SERVICE_UNAVAILABLE, "the proxy's disk is full")

    async def _fetch(self, ticket: Ticket, file: FileIO) -> Blob:
        part = self.store.part(ticket.sha256)
        try:
            arriving = await asyncio.to_thread(_left, file, ticket.size)
            left = arriving.received
            await self._download(ticket, arriving)
            if left and not arriving.is_what(ticket):
                # What a killed process left was not what it seemed.
                arriving.begin_anew()
                await self._download(ticket, arriving)
            if not arriving.is_what(ticket):
                raise Refusal(Code.BAD_GATEWAY, "the upstream's bytes are not the artifact's (SHA-256 differs)")
            return await asyncio.to_thread(self.store.keep, part, ticket.sha256)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _disk_fails(error) from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    async def _download(self, ticket: Ticket, arriving: "_Arriving") -> None:
        """Ask for what is not there yet, again where it broke off, until all is there."""
        for attempt in range(len(RETRY_SECONDS) + 1):
            if arriving.received == ticket.size:
                return
            try:
                shown = self.credentials.headers_for(uris.allowed(ticket.url, self.bases))
                headers = {"Accept-Encoding": "identity", **arriving.range_headers(), **shown}
                self.stats.requests += 1
                async with self.client.stream("GET", ticket.url, headers=headers) as answer:
                    if not arriving.goes_on_with(answer.status_code, answer.headers):
                        self._refuse(answer.status_code)
                    # As it comes: what is collected to larger pieces is lost when the connection breaks.
                    async for chunk in answer.aiter_raw():
                        self.stats.bytes += len(chunk)
                        arriving.take(chunk)
                        if arriving.received > ticket.size:
                            raise Refusal(Code.BAD_GATEWAY, "the upstream sent more than the ticket's size")
            except (httpx.TransportError, httpx.StreamError, _Retry) as error:
                if attempt == len(RETRY_SECONDS):
                    raise Refusal(Code.BAD_GATEWAY, f"the upstream broke off: {type(error).__name__}") from error
                await asyncio.sleep(RETRY_SECONDS[attempt])

    def _refuse(self, status: int) -> None:
        if status in (429, 500, 502, 503, 504):
            raise _Retry
        # The device chose neither URL nor credentials: only "it is gone" is news for it, all else is ours to mend.
        code = Code.NOT_FOUND if status in (404, 410) else Code.BAD_GATEWAY
        raise Refusal(code, f"the upstream answered {status}")

    def close(self) -> None:
        """Give up what is under way."""
        self._flights.cancel()


@dataclass
class _Arriving:
    """An artifact on its way to disk; `etag` is the strong validator of the representation its bytes are of."""

    file: FileIO
    received: int
    digest: "hashlib._Hash"
    etag: str | None = None

    def range_headers(self) -> dict[str, str]:
        """Ask for the rest, and only of the same representation (RFC 9110 sections 13.1.5 and 14.2)."""
        if not self.received:
            return {}
        return {"Range": f"bytes={self.received}-"} | ({"If-Range": self.etag} if self.etag else {})

    def goes_on_with(self, status: int, headers: httpx.Headers) -> bool:
        """Whether the answer's bytes are to be taken; those here are dropped when it begins at the beginning."""
        if status == 206 and self.received:
            given = re.match(r"bytes (\d+)-", headers.get("content-range", ""))
            if given is None or int(given[1]) != self.received:
                # Not what was asked for (RFC 9110 section 15.3.7): nobody knows what its bytes are.
                self.begin_anew()
                raise _Retry
            return True
        if status == 416 and self.received:
            self.begin_anew()
            raise _Retry
        if status != 200:
            return False
        self.begin_anew()
        etag = headers.get("etag", "")
        # A weak one says nothing of bytes (RFC 9110 section 8.8.1).
        self.etag = etag if re.fullmatch(r'"[\x21\x23-\x7e]{0,256}"', etag) else None
        return True

    def take(self, chunk: bytes) -> None:
        self.received += len(chunk)
        self.digest.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[self.file.write(rest) :]

    def begin_anew(self) -> None:
        self.received, self.digest, self.etag = 0, hashlib.sha256(), None
        self.file.seek(0)
        if os.fstat(self.file.fileno()).st_size:
            self.file.truncate()

    def is_what(self, ticket: Ticket) -> bool:
        return self.received == ticket.size and self.digest.hexdigest() == ticket.sha256


def _left(file: FileIO, size: int) -> _Arriving:
    """What a killed process left of the part; none of it when it is more than there should be."""
    arriving = _Arriving(file, 0, hashlib.sha256())
    there = os.fstat(file.fileno()).st_size
    if there > size:
        arriving.begin_anew()
        return arriving
    file.seek(0)
    while arriving.received < there and (chunk := file.read(PIECE_BYTES)):
        arriving.received += len(chunk)
        arriving.digest.update(chunk)
    return arriving


def _disk_fails(error: OSError) -> Refusal:
    return Refusal(Code.SERVICE_UNAVAILABLE, f"the proxy's disk fails: {error.strerror}")


class _Retry(Exception):
    """An answer worth asking again for."""
