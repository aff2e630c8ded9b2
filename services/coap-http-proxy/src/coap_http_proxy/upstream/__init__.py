"""Everything that is asked of somebody else: artifacts by ticket, representations by URI."""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from coap_http_proxy.blobs import Blob, BlobStore
from coap_http_proxy.cache import OVERHEAD_BYTES, RepresentationCache
from coap_http_proxy.credentials import Credentials
from coap_http_proxy.mapping import uris
from coap_http_proxy.psk import ClientKey
from coap_http_proxy.spool import IN_MEMORY_BYTES, Room
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.artifacts import Artifacts
from coap_http_proxy.upstream.coap import CoapOrigin, Resolve
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_http_proxy.upstream.http import HttpOrigin
from coap_http_proxy.upstream.representations import Representations

__all__ = ["Artifacts", "Representations", "Upstream", "UpstreamLimits", "UpstreamStats"]


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Bytes and seconds that what others send may cost. An artifact is what a ticket names, a representation what a
    URI names; `memory_bytes` and `disk_bytes` bound the representations kept, `arriving_bytes` all that are not yet
    whole."""

    artifact_bytes: int
    representation_bytes: int
    memory_bytes: int
    disk_bytes: int
    arriving_bytes: int
    timeout_seconds: float


class Upstream:
    """Both sorts of upstream over one HTTP client, with one set of counters. `name` is this proxy's pseudonym, `keys`
    are those of `coaps` upstreams."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        store: BlobStore,
        bases: tuple[uris.Base, ...],
        for_tickets: Credentials,
        for_uris: Credentials,
        resolve: Resolve,
        name: str,
        limits: UpstreamLimits,
        keys: Mapping[tuple[str, int], ClientKey],
    ) -> None:
        self.client, self.store, self.stats = client, store, UpstreamStats()
        self.room = Room(limits.arriving_bytes)
        self.artifacts = Artifacts(
            client, store, bases, for_tickets, limits.artifact_bytes, limits.timeout_seconds, self.stats
        )
        largest = limits.representation_bytes
        self.representations = Representations(
            HttpOrigin(client, bases, for_uris.headers_for, store.folder, self.room, largest, name, self.stats),
            CoapOrigin(resolve, store.folder, self.room, largest, name, self.stats, keys),
            # One of the largest at least: without it each block of a transfer would be a whole fetch.
            RepresentationCache(
                max(limits.memory_bytes, IN_MEMORY_BYTES + OVERHEAD_BYTES), max(limits.disk_bytes, largest)
            ),
            limits.timeout_seconds,
        )

    async def artifact(self, ticket: Ticket) -> Blob:
        """The ticket's blob; raises Refusal."""
        return await self.artifacts.artifact(ticket)

    async def close(self) -> None:
        """Let go of connections."""
        self.artifacts.close()
        self.representations.close()
        await self.client.aclose()
