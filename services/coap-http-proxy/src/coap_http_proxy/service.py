"""What a request gets: firmware by ticket, what is somebody else's by the cross proxy, the directory, the health."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from coap_http_proxy.blobs import blob_of
from coap_http_proxy.downloads import Downloads
from coap_http_proxy.forward import CrossProxy
from coap_http_proxy.mapping import requests
from coap_http_proxy.mapping.blocks import sliced
from coap_http_proxy.mapping.requests import Directory, Health, Proxied, Refusal, Ticketed
from coap_http_proxy.mapping.reverse import Route
from coap_http_proxy.peers import Peer
from coap_http_proxy.upstream import Upstream
from coap_wire import Block, Code, Message, Type, decode_block
from coap_wire import options as option

_DIRECTORY = blob_of(
    b'</f>;rt="firmware";ct=42,</coap2http>;rt="proxy",</coap2coap>;rt="proxy",</health>;rt="health";ct=0', 40
)


async def _all_well() -> dict[str, str]:
    return {}


@dataclass(eq=False)
class ProxyService:
    """Answers requests and keeps the books; the transport and the message layer call it."""

    downloads: Downloads
    upstream: Upstream
    cross_proxy: CrossProxy
    routes: tuple[Route, ...] = ()
    # Hosts and ports by which this proxy is known.
    own: frozenset[tuple[str, int]] = frozenset()
    # What is wrong, by part.
    checks: Callable[[], Awaitable[dict[str, str]]] = _all_well
    answers: dict[int, int] = field(default_factory=dict)

    async def respond(self, request: Message, peer: Peer) -> Message:
        """The answer to one request; raises Refusal."""
        try:
            answer = await self._respond(request, peer)
        except Refusal as refusal:
            self._count(refusal.code)
            raise
        self._count(answer.code)
        return answer

    def _count(self, code: int) -> None:
        self.answers[code] = self.answers.get(code, 0) + 1

    async def _respond(self, request: Message, peer: Peer) -> Message:
        what = requests.wanted(request, self.routes, self.own)
        match what:
            case Ticketed(token):
                return await self._firmware(request, token, requests.block_of(request), peer)
            case Proxied():
                return await self.cross_proxy.answer(request, peer, what)
            case Directory():
                return sliced(request, _DIRECTORY, requests.block_of(request))
            case Health():
                return await self._health()

    async def _health(self) -> Message:
        """2.05 or 5.03, never out of a cache; strangers learn which part is ill and no more."""
        if wrong := await self.checks():
            raise Refusal(Code.SERVICE_UNAVAILABLE, f"not well: {', '.join(sorted(wrong))}")
        return Message(
            Type.ACK, Code.CONTENT, 0, options=((option.CONTENT_FORMAT, b""), (option.MAX_AGE, b"")), payload=b"ok"
        )

    def shows_ticket(self, request: Message) -> bool:
        """True for a request in the form of a ticket's; costs no look-up, and a wrong ticket gets a small 4.04."""
        return requests.shows_ticket(request)

    async def _firmware(self, request: Message, token: str, block: Block, peer: Peer) -> Message:
        download = await self.downloads.find(token, peer)
        blob = download.blob or await self.upstream.artifact(download.ticket)
        self.downloads.ready(download, blob)
        answer = sliced(request, blob, block)
        if answer.code == Code.CONTENT:
            self.downloads.served(download, _offset_of(answer), len(answer.payload))
        return answer


def _offset_of(answer: Message) -> int:
    value = answer.option(option.BLOCK2)
    return decode_block(value).offset if value is not None else 0
