"""Requests for somebody else's resources, forward and reverse (RFC 7252 section 5.7): blocks in, one question, blocks
out."""

import hashlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from coap_http_proxy.blockwise import Complete, Continue, Repeated, Uploads, block1_of
from coap_http_proxy.cache import Representation
from coap_http_proxy.mapping import requests, uris
from coap_http_proxy.mapping.blocks import sliced
from coap_http_proxy.mapping.questions import Question, question
from coap_http_proxy.mapping.requests import Proxied, Refusal
from coap_http_proxy.peers import Peer
from coap_http_proxy.spool import Body
from coap_http_proxy.upstream import Representations
from coap_wire import Block, Code, Message, Type, encode_block
from coap_wire import options as option

WITH_PAYLOAD = frozenset({Code.POST, Code.PUT, Code.FETCH, Code.PATCH, Code.IPATCH})


@dataclass(eq=False)
class CrossProxy:
    """`bases` is the allow-list; `name` stands for this proxy where loops are told of (RFC 8768)."""

    representations: Representations
    uploads: Uploads
    bases: tuple[uris.Base, ...]
    name: str
    clock: Callable[[], float] = time.monotonic

    async def answer(self, request: Message, peer: Peer, what: Proxied) -> Message:
        """The answer to one request; raises Refusal."""
        self._allow(what)
        try:
            asked = question(request, what.uri)
        except Refusal as refusal:
            if refusal.code == Code.HOP_LIMIT_REACHED:
                raise Refusal(refusal.code, self.name) from refusal
            raise
        block = requests.block_of(request)
        if request.option(option.BLOCK1) is not None and request.code not in WITH_PAYLOAD:
            raise Refusal(Code.BAD_OPTION, "option 27 belongs to a body, and this method has none")
        if request.option(option.BLOCK1) is None:
            payload = request.payload if request.code in WITH_PAYLOAD else b""
            return await self._asked(request, asked, payload, peer, block, what)
        one = block1_of(request)
        done = ((option.BLOCK1, encode_block(Block(one.num, one.more, one.szx))),)
        arrived = self.uploads.received(request, asked, peer)
        match arrived:
            case Continue():
                return Message(Type.ACK, Code.CONTINUE, 0, options=done)
            case Repeated():
                kept = self.representations.repeated(asked, peer)
                if kept is None:
                    raise Refusal(Code.REQUEST_ENTITY_INCOMPLETE, "the blocks before this one are not here")
                answer = self._cut(request, kept, block)
            case Complete(body):
                answer = await self._asked(request, asked, body, peer, block, what)
        options = tuple(sorted((*answer.options, *done), key=lambda pair: pair[0]))
        return Message(answer.type, answer.code, 0, options=options, payload=answer.payload)

    def _allow(self, what: Proxied) -> None:
        try:
            uris.allowed(what.uri, self.bases)
        except uris.ForbiddenUri as error:
            # By a reverse path the device does not know, and is not told, which upstream it is.
            said = "no such resource" if what.route else str(error)
            # RFC 7252 section 5.7.2 has 5.05 for all; 4.03 tells a device that the URI is at fault, not the server.
            refused = Code.PROXYING_NOT_SUPPORTED if error.unspoken else Code.FORBIDDEN
            raise Refusal(Code.BAD_REQUEST if error.malformed else refused, said) from error

    async def _asked(
        self, request: Message, asked: Question, body: Body, peer: Peer, block: Block, what: Proxied
    ) -> Message:
        in_blocks = request.option(option.BLOCK1) is not None
        one = await self.representations.answer(asked, body, peer, block, what.route, in_blocks=in_blocks)
        return self._cut(request, one, block)

    def _cut(self, request: Message, one: Representation, block: Block) -> Message:
        max_age = one.max_age(self.clock()) if one.code == Code.CONTENT else None
        return sliced(request, one, block, one.code, max_age, one.options)


def pseudonym(host: str, port: int) -> str:
    """What this proxy calls itself towards others: the same in all its processes, and no name of a machine."""
    place = f"{socket.gethostname()} {host} {port}"
    return f"updraft-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
