"""Firmware by ticket: fetched once however many ask, resumed when it breaks, verified before it is served."""

import asyncio
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from coap_http_proxy.blobs import Blob, BlobStore
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.flights import Flights, UpstreamStats
from coap_wire import Code

RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)


@dataclass
class Artifacts:
    """What tickets name. `bases` is the allow-list; `authorization` goes along, for no stranger chose the URL."""

    client: httpx.AsyncClient
    store: BlobStore
    bases: tuple[uris.Base, ...]
    authorization: str | None
    max_bytes: int
    timeout_seconds: float
    stats: UpstreamStats
    _flights: Flights[Blob] = field(init=False)

    def __post_init__(self) -> None:
        self._flights = Flights(self.timeout_seconds, self.stats)

    async def artifact(self, ticket: Ticket) -> Blob:
        """The ticket's blob from disk or from upstream; raises Refusal."""
        blob = self.store.get(ticket.sha256)
        if blob is not None:
            return blob
        return await self._flights.join(ticket.sha256, lambda: self._fetch(ticket))

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
                    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={received}-"} if received else {})}
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
                        # As it arrives: collected into even chunks, what a broken connection had brought would be lost.
                        async for chunk in answer.aiter_raw():
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

    def _refuse(self, status: int) -> None:
        if status in (429, 500, 502, 503, 504):
            raise _Retry
        # The device chose neither URL nor credentials: only "it is gone" is news for it, all else is ours to mend.
        code = Code.NOT_FOUND if status in (404, 410) else Code.BAD_GATEWAY
        raise Refusal(code, f"the upstream answered {status}")

    def close(self) -> None:
        """Give up what is under way."""
        self._flights.cancel()


class _Retry(Exception):
    """An answer worth asking again for."""
