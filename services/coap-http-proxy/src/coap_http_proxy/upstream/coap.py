"""Asking CoAP servers: one question becomes as many blocks as it takes, bounded in bytes (RFC 7959), its answer a
representation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from coap_http_proxy.cache import Representation
from coap_http_proxy.coap_client import transfer
from coap_http_proxy.coap_client.exchange import BadAnswer, Endpoint, NoAnswer, endpoint
from coap_http_proxy.coap_client.secure import secure_endpoint
from coap_http_proxy.mapping import freshness, methods, uri_options
from coap_http_proxy.mapping.freshness import Freshness
from coap_http_proxy.mapping.questions import Question
from coap_http_proxy.mapping.requests import Refusal
from coap_http_proxy.mapping.uri_options import COAP_PORTS
from coap_http_proxy.psk import ClientKey
from coap_http_proxy.spool import Body, Room, Spool
from coap_http_proxy.upstream.flights import UpstreamStats
from coap_wire import Code, Message, Options, Type, decode_uint, encode_uint, is_success, is_unsafe
from coap_wire import options as option

Resolve = Callable[[str, int], Awaitable[tuple[str, int]]]

MAX_RESTARTS: Final = 2
MAX_DIAGNOSTIC_BYTES: Final = 96
MAX_ETAG_BYTES: Final = 8
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
# Successes that say something of what was asked and here was not: a tag, a block.
UNASKED: Final = frozenset({Code.VALID, Code.CONTINUE})
PASSED_ON: Final = frozenset({option.LOCATION_PATH, option.LOCATION_QUERY})


@dataclass
class CoapOrigin:
    """`resolve` gives the address to send to, checked; it raises OSError for one that must not be asked."""

    resolve: Resolve
    folder: Path
    room: Room
    max_bytes: int
    name: str
    stats: UpstreamStats
    # Of `coaps` upstreams, by host and port.
    keys: Mapping[tuple[str, int], ClientKey] = field(default_factory=dict)
    # NSTART is 1 (RFC 7252 section 4.7): one message to a server waits for its acknowledgement at a time.
    _turns: "WeakValueDictionary[tuple[str, int], asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def ask(self, asked: Question, body: Body, stored: Representation | None = None) -> Representation:
        """The answer, whole; `stored` itself, with a new life, when it still holds. Raises Refusal."""
        try:
            parts = urlsplit(asked.uri)
            host, port = parts.hostname or "", parts.port or COAP_PORTS[asked.scheme]
            options = self._options(asked, stored)
            async with self._endpoint(asked.scheme, host, port) as server:
                for _ in range(MAX_RESTARTS + 1):
                    try:
                        return await self._transfer(self._asking(server), asked, options, body, stored)
                    except transfer.Changed:
                        if asked.method not in methods.CACHEABLE:
                            raise  # it would be done twice
        except ValueError as error:
            raise Refusal(Code.BAD_REQUEST, "the URI cannot be asked for") from error
        except NoAnswer as error:
            raise Refusal(Code.GATEWAY_TIMEOUT, "the upstream does not answer", 2) from error
        except BadAnswer as error:
            raise Refusal(Code.BAD_GATEWAY, f"the upstream's answer is none: {error}", 2) from error
        except OSError as error:
            raise Refusal(Code.BAD_GATEWAY, "the upstream cannot be reached", 2) from error
        raise Refusal(Code.BAD_GATEWAY, "the upstream's answer changes faster than it can be read", 2)

    @asynccontextmanager
    async def _endpoint(self, scheme: str, host: str, port: int) -> AsyncIterator[Endpoint]:
        key = self.keys.get((host, port))
        if scheme == "coaps" and key is None:
            raise Refusal(Code.BAD_GATEWAY, "the proxy has no key for that upstream")
        address = await self.resolve(host, port)
        turn = self._turns.setdefault(address, asyncio.Lock())
        async with secure_endpoint(address, turn, key) if scheme == "coaps" and key else endpoint(address, turn) as one:
            yield one

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
        self, ask: transfer.Ask, asked: Question, options: Options, body: Body, stored: Representation | None
    ) -> Representation:
        request = Message(Type.CON, asked.method, 0, options=options)
        first = await transfer.send(ask, request, body)
        if not is_success(first.code):
            raise self._refusal(first)
        passed = self._passed_on(first)
        if first.code == Code.VALID and stored is not None:
            # RFC 7252 section 5.9.1.3: what came with it stands in the place of what was kept.
            stored.freshness, stored.options = freshness.of_coap(first.uint(option.MAX_AGE)), passed
            return stored
        if first.code in UNASKED:
            raise Refusal(Code.BAD_GATEWAY, "the upstream's answer is to another question", 2)
        # An elective option of a length it cannot have is ignored (RFC 7252 section 5.4.3).
        tag = first.option(option.ETAG) or b""
        tag = tag if len(tag) <= MAX_ETAG_BYTES else b""
        form = first.option(option.CONTENT_FORMAT)
        get = first.code == Code.CONTENT
        with Spool(self.folder, self.room, self.max_bytes) as spool:
            async for piece in transfer.receive(ask, request, first, self.max_bytes):
                self.stats.bytes += len(piece)
                spool.write(piece)
            return Representation(
                first.code,
                spool.taken_out(),
                tag or (spool.digest()[:8] if get else b""),
                None if form is None or len(form) > 2 else decode_uint(form),
                passed,
                # With a tag of the upstream's own it can be asked whether that still holds.
                ("etag", "") if tag and get else None,
                None,
                _life(asked, first) if get else Freshness(0, shared=False),
                uri=asked.uri,
                location=_location(asked.uri, first),
            )

    def _passed_on(self, answer: Message) -> Options:
        """Options of a response for the device; raises Refusal for an unsafe one that is not known."""
        passed = []
        for number, value in answer.options:
            if number in READ:
                continue
            if is_unsafe(number) and number not in PASSED_ON:
                raise Refusal(Code.BAD_GATEWAY, f"the upstream's option {number} is not known here", 2)
            passed.append((number, value))
        return tuple(passed)

    def _asking(self, server: Endpoint) -> transfer.Ask:
        async def ask(request: Message) -> Message:
            self.stats.requests += 1
            answer = await server.ask(request)
            echo = answer.option(option.ECHO)
            if answer.code == Code.UNAUTHORIZED and echo is not None:
                # RFC 9175 section 2.3: the same again, with the proof that this address is ours.
                answer = await server.ask(replace(request, options=(*request.options, (option.ECHO, echo))))
            return answer

        return ask

    def _refusal(self, answer: Message) -> Refusal:
        if answer.code == Code.HOP_LIMIT_REACHED:
            # RFC 8768 section 4: each proxy on the way back puts its name in front.
            said = " ".join((self.name, answer.payload.decode("utf-8", "replace")))
            return Refusal(answer.code, said[:MAX_DIAGNOSTIC_BYTES])
        life = freshness.of_failure(answer.code, 0, {}, 0)
        if life is None:
            return Refusal(answer.code, "the upstream's own answer")
        told = answer.uint(option.MAX_AGE)
        return Refusal(
            answer.code,
            "the upstream's own answer",
            life.seconds if told is None else max(1, min(told, freshness.LONGEST_RETRY_SECONDS)),
        )


def _life(asked: Question, answer: Message) -> Freshness:
    """Max-Age; what was said to us over DTLS was said to us alone (RFC 7252 section 6.2)."""
    life = freshness.of_coap(answer.uint(option.MAX_AGE))
    return life if asked.scheme == "coap" else replace(life, shared=False)


def _location(uri: str, answer: Message) -> str:
    """The absolute URI of a response's Location options; of none, the one that was asked."""
    path, query = answer.options_of(option.LOCATION_PATH), answer.options_of(option.LOCATION_QUERY)
    if not path and not query:
        return uri
    parts = urlsplit(uri)
    told = [[value.decode("utf-8", "replace") for value in values] for values in (path, query)]
    return uri_options.composed(parts.scheme, parts.hostname or "", parts.port, *told)
