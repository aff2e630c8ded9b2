"""What an allowed URI stands for, asked over HTTP or CoAP, kept for a short time so that its blocks agree."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx

from coap_http_proxy.blobs import Blob, blob_of
from coap_http_proxy.mapping import uris
from coap_http_proxy.mapping.codes import coap_code
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.upstream.coap import CoapUpstream
from coap_http_proxy.upstream.flights import CHUNK_BYTES, Flights, UpstreamStats
from coap_wire import Code

SMALL_CACHE_SECONDS = 30.0
# What strangers may make this process hold in memory: representations asked for by Proxy-Uri, each and together.
MAX_REPRESENTATION_BYTES = 16 << 20
MAX_SMALL_CACHE_BYTES = 64 << 20
MAX_REPRESENTATIONS_AT_ONCE = 8


@dataclass
class Representations:
    """What strangers name by Proxy-Uri, asked for as a stranger would. `bases` is the allow-list."""

    client: httpx.AsyncClient
    bases: tuple[uris.Base, ...]
    max_bytes: int
    timeout_seconds: float
    stats: UpstreamStats
    coap: CoapUpstream = field(init=False)
    _flights: Flights[Blob] = field(init=False)
    _small: dict[str, tuple[float, Blob]] = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_REPRESENTATIONS_AT_ONCE))

    def __post_init__(self) -> None:
        self.coap = CoapUpstream(self.stats)
        self._flights = Flights(self.timeout_seconds, self.stats)

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
        ask = self.coap.ask if base.scheme == "coap" else self._ask_http
        return await self._flights.join(uri, lambda: self._ask_in_turn(uri, ask))

    async def _ask_in_turn(self, uri: str, ask: Callable[[str], Coroutine[Any, Any, Blob]]) -> Blob:
        async with self._turns:
            blob = await ask(uri)
        self._small[uri] = (asyncio.get_running_loop().time() + SMALL_CACHE_SECONDS, blob)
        while sum(kept.size for _, kept in self._small.values()) > MAX_SMALL_CACHE_BYTES:
            del self._small[next(iter(self._small))]
        return blob

    async def _ask_http(self, uri: str) -> Blob:
        self.stats.requests += 1
        data = bytearray()
        try:
            async with self.client.stream("GET", uri, headers={"Accept-Encoding": "identity"}) as answer:
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

    async def close(self) -> None:
        """Give up what is under way and let go of connections."""
        self._flights.cancel()
        await self.coap.close()
