"""Asking CoAP servers: one question becomes as many blocks as it takes, bounded in bytes (RFC 7959), its answer a
representation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from coap_http_proxy.cache import Representation
from coap_http_proxy.mapping import freshness, uri_options
from coap_http_proxy.mapping.freshness import Freshness
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.mapping.uri_options import COAP_PORTS
from coap_http_proxy.spool import Body, Room, Spool, TooLarge
from coap_http_proxy.upstream.coap_endpoint import CoapEndpoint, NoAnswer, connected
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_wire import (
    MAX_NUM,
    MAX_SZX,
    Block,
    Code,
    DecodeError,
    Message,
    Options,
    decode_block,
    encode_block,
    encode_uint,
    is_success,
    is_unsafe,
)
from coap_wire import options as option

Resolve = Callable[[str, int], Awaitable[tuple[str, int]]]

MAX_RESTARTS: Final = 2
MAX_DIAGNOSTIC_BYTES: Final = 96
# What this proxy reads in a response; the rest is passed on when it is safe (RFC 7252 section 5.7.1).
READ: Final = frozenset(
    {
        option.ETAG,
        option.OBSERVE,
        option.CONTENT_FORMAT,
        option.MAX_AGE,
        option.BLOCK2,
        option.BLOCK1,
        option.SIZE2,
        option.SIZE1,
        option.ECHO,
        option.HOP_LIMIT,
    }
)
PASSED_ON: Final = frozenset({option.LOCATION_PATH, option.LOCATION_QUERY})


class _Changed(Exception):
    """The representation became another one between two blocks."""


@dataclass
class CoapOrigin:
    """`resolve` gives the address to send to, checked; it raises OSError for one that must not be asked."""

    resolve: Resolve
    folder: Path
    room: Room
    max_bytes: int
    name: str
    stats: UpstreamStats

    async def ask(self, asked: Question, body: Body, stored: Representation | None = None) -> Representation:
        """The answer, whole; `stored` itself, with a new life, when it still holds. Raises Refusal."""
        if asked.scheme != "coap":
            raise Refusal(Code.BAD_GATEWAY, f"{asked.scheme} upstreams cannot be asked from here")
        try:
            parts = urlsplit(asked.uri)
            options = self._options(asked, stored)
            address, port = await self.resolve(parts.hostname or "", parts.port or COAP_PORTS["coap"])
            async with connected(address, port) as endpoint:
                for _ in range(MAX_RESTARTS + 1):
                    try:
                        return await self._transfer(endpoint, asked, options, body, stored)
                    except _Changed:
                        continue
        except ValueError as error:
            raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
        except NoAnswer as error:
            code = Code.GATEWAY_TIMEOUT if error.late else Code.BAD_GATEWAY
            raise Refusal(code, f"the upstream did not answer: {error}", 2) from error
        except OSError as error:
            raise Refusal(Code.BAD_GATEWAY, "the upstream cannot be reached", 2) from error
        raise Refusal(Code.BAD_GATEWAY, "the upstream's answer changes faster than it can be read", 2)

    def _options(self, asked: Question, stored: Representation | None) -> Options:
        options = [*uri_options.taken_apart(asked.uri), *asked.carried]
        options.append((option.HOP_LIMIT, encode_uint(asked.hop_limit)))
        if asked.accept is not None:
            options.append((option.ACCEPT, encode_uint(asked.accept)))
        if asked.content_format is not None:
            options.append((option.CONTENT_FORMAT, encode_uint(asked.content_format)))
        options += [(option.IF_MATCH, tag) for tag in asked.if_match]
        if asked.if_none_match:
            options.append((option.IF_NONE_MATCH, b""))
        if stored is not None and stored.validator is not None:
            options.append((option.ETAG, stored.etag))
        return tuple(options)

    async def _transfer(
        self, endpoint: CoapEndpoint, asked: Question, options: Options, body: Body, stored: Representation | None
    ) -> Representation:
        first = await self._sent(endpoint, asked.method, options, body)
        if first.code == Code.VALID and stored is not None:
            stored.freshness = freshness.of_coap(first.uint(option.MAX_AGE))
            return stored
        if not is_success(first.code):
            raise self._refusal(first)
        passed = []
        for number, value in first.options:
            if number in READ:
                continue
            if is_unsafe(number) and number not in PASSED_ON:
                raise Refusal(Code.BAD_GATEWAY, f"the upstream's option {number} is not known here", 2)
            passed.append((number, value))
        tag = first.option(option.ETAG) or b""
        get = first.code == Code.CONTENT
        with Spool(self.folder, self.room, self.max_bytes) as spool:
            await self._received(endpoint, asked.method, options, first, spool)
            return Representation(
                first.code,
                spool.taken_out(),
                tag or (spool.digest()[:8] if get else b""),
                first.uint(option.CONTENT_FORMAT),
                tuple(passed),
                # With a tag of the upstream's own it can be asked whether that still holds.
                ("etag", "") if tag and get else None,
                None,
                freshness.of_coap(first.uint(option.MAX_AGE)) if get else Freshness(0, shared=False),
                uri=asked.uri,
            )

    async def _sent(self, endpoint: CoapEndpoint, method: int, options: Options, body: Body) -> Message:
        """The response to the whole body, sent in blocks where it is larger than one."""
        szx, at = MAX_SZX, 0
        while len(body) > 16 << MAX_SZX:
            size = 16 << szx
            more = at + size < len(body)
            if at >> (szx + 4) > MAX_NUM:
                raise Refusal(Code.REQUEST_ENTITY_TOO_LARGE, "more blocks than there are numbers")
            block = (option.BLOCK1, encode_block(Block(at >> (szx + 4), more, szx)))
            size1 = ((option.SIZE1, encode_uint(len(body))),) if at == 0 else ()
            piece = bytes(body[at : at + size])
            answer = await self._asked(endpoint, method, (*options, block, *size1), piece)
            theirs = _block(answer, option.BLOCK1)
            smaller = theirs is not None and theirs.szx < szx
            if answer.code == Code.REQUEST_ENTITY_TOO_LARGE and smaller and at == 0 and theirs is not None:
                szx = theirs.szx  # RFC 7959 section 2.9.3: again, in smaller blocks
                continue
            if answer.code != Code.CONTINUE or not more:
                return answer
            at += size
            if smaller and theirs is not None:
                szx = theirs.szx
        return await self._asked(endpoint, method, options, bytes(body))

    async def _received(
        self, endpoint: CoapEndpoint, method: int, options: Options, first: Message, spool: Spool
    ) -> None:
        """All blocks of the response; the upstream decides their size."""
        answer, tag = first, first.option(option.ETAG)
        # A repeated question for a further block carries no condition and no payload (RFC 7959 section 2.7).
        conditions = (option.ETAG, option.IF_MATCH, option.IF_NONE_MATCH)
        options = tuple(pair for pair in options if pair[0] not in conditions)
        while True:
            block = _block(answer, option.BLOCK2)
            if block is not None and block.offset != spool.size:
                raise Refusal(Code.BAD_GATEWAY, "the upstream's blocks are out of order", 2)
            if block is not None and block.more and len(answer.payload) != block.size:
                raise Refusal(Code.BAD_GATEWAY, "the upstream's block is no full block", 2)
            self.stats.bytes += len(answer.payload)
            try:
                spool.write(answer.payload)
            except TooLarge as error:
                raise Refusal(Code.BAD_GATEWAY, f"the answer is over {self.max_bytes} bytes", 2) from error
            if block is None or not block.more:
                return
            following = Block(spool.size >> (block.szx + 4), False, block.szx)
            if following.num > MAX_NUM:
                raise Refusal(Code.BAD_GATEWAY, "the upstream's answer has no end", 2)
            wanted = (*options, (option.BLOCK2, encode_block(following)))
            answer = await self._asked(endpoint, method, wanted, b"")
            if not is_success(answer.code):
                raise self._refusal(answer)
            if answer.option(option.ETAG) != tag:
                raise _Changed
            if _block(answer, option.BLOCK2) is None:
                raise Refusal(Code.BAD_GATEWAY, "the upstream forgot its blocks", 2)

    async def _asked(self, endpoint: CoapEndpoint, method: int, options: Options, payload: bytes) -> Message:
        self.stats.requests += 1
        ordered = tuple(sorted(options, key=lambda pair: pair[0]))
        answer = await endpoint.ask(method, ordered, payload)
        echo = answer.option(option.ECHO)
        if answer.code == Code.UNAUTHORIZED and echo is not None:
            # RFC 9175 section 2.3: the same again, with the proof that this address is ours.
            ordered = tuple(sorted((*options, (option.ECHO, echo)), key=lambda pair: pair[0]))
            answer = await endpoint.ask(method, ordered, payload)
        return answer

    def _refusal(self, answer: Message) -> Refusal:
        if answer.code == Code.HOP_LIMIT_REACHED:
            # RFC 8768 section 4: each proxy on the way back puts its name in front.
            said = " ".join((self.name, answer.payload.decode("utf-8", "replace")))
            return Refusal(answer.code, said[:MAX_DIAGNOSTIC_BYTES])
        life = freshness.of_failure(answer.code, 0, {}, 0)
        if life is None:
            return Refusal(answer.code, "the upstream's own answer")
        told = answer.uint(option.MAX_AGE)
        return Refusal(answer.code, "the upstream's own answer", life.seconds if told is None else max(1, told))


def _block(answer: Message, number: int) -> Block | None:
    value = answer.option(number)
    try:
        return None if value is None else decode_block(value)
    except DecodeError as error:
        raise Refusal(Code.BAD_GATEWAY, "the upstream's block option is malformed", 2) from error
