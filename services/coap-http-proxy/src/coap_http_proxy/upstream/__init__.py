"""Everything that is asked of somebody else: artifacts by ticket, representations by URI."""

import httpx

from coap_http_proxy.blobs import Blob, BlobStore
from coap_http_proxy.mapping import uris
from coap_http_proxy.tickets import Ticket
from coap_http_proxy.upstream.artifacts import Artifacts
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_http_proxy.upstream.representations import Representations

__all__ = ["Artifacts", "Representations", "Upstream", "UpstreamStats"]


class Upstream:
    """Both sorts of upstream over one HTTP client, with one set of counters."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        store: BlobStore,
        bases: tuple[uris.Base, ...],
        authorization: str | None,
        max_bytes: int,
        timeout_seconds: float,
    ) -> None:
        self.client, self.store, self.stats = client, store, UpstreamStats()
        self.artifacts = Artifacts(client, store, bases, authorization, max_bytes, timeout_seconds, self.stats)
        self.representations = Representations(client, bases, max_bytes, timeout_seconds, self.stats)

    async def artifact(self, ticket: Ticket) -> Blob:
        """The ticket's blob; raises Refusal."""
        return await self.artifacts.artifact(ticket)

    async def representation(self, uri: str) -> Blob:
        """What an allowed URI stands for; raises Refusal."""
        return await self.representations.representation(uri)

    async def close(self) -> None:
        """Let go of connections."""
        self.artifacts.close()
        await self.representations.close()
        await self.client.aclose()
