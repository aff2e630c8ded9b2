"""Asking CoAP servers, as their client."""

from dataclasses import dataclass

import aiocoap

from coap_http_proxy.blobs import Blob, blob_of
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_wire import Code


@dataclass
class CoapUpstream:
    """One client endpoint for all CoAP upstreams."""

    stats: UpstreamStats
    _coap: aiocoap.Context | None = None

    async def ask(self, uri: str) -> Blob:
        """The representation of a coap URI, whole; raises Refusal."""
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
        """Let the endpoint go."""
        if self._coap is not None:
            await self._coap.shutdown()
