"""Builds the proxy from its settings, and runs it until it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial

import redis.asyncio as redis

from coap_http_proxy import metrics, secure
from coap_http_proxy.blobs import BlobStore
from coap_http_proxy.blockwise import Uploads
from coap_http_proxy.credentials import Credentials, read_credentials
from coap_http_proxy.downloads import Downloads
from coap_http_proxy.echo import Echo
from coap_http_proxy.exchanges import Exchanges
from coap_http_proxy.fast_path import fast_path
from coap_http_proxy.forward import CrossProxy, pseudonym
from coap_http_proxy.gate import Gate
from coap_http_proxy.gate import Limits as GateLimits
from coap_http_proxy.guard import guarded_client, resolve_checked
from coap_http_proxy.http_face.app import HttpFace, serving
from coap_http_proxy.limits import Buckets
from coap_http_proxy.mapping import addresses, uris
from coap_http_proxy.mapping.reverse import parse_routes
from coap_http_proxy.metrics import Snapshot
from coap_http_proxy.peers import Peer
from coap_http_proxy.psk import Keys, read_keys, read_upstream_keys
from coap_http_proxy.secure import SecureFace
from coap_http_proxy.service import ProxyService
from coap_http_proxy.settings import ProxySettings
from coap_http_proxy.tickets import Tickets
from coap_http_proxy.upstream import Upstream, UpstreamLimits
from coap_wire import dotted
from datagrams import Transport, udp_socket
from dtls import Limits, Server
from servicekit import Answer, Handler, json_answer, serve

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
# Less than what a parent of workers grants after the drain (workers.GRACE_SECONDS).
LAST_REPORT_SECONDS = 2.0
MAX_PACED_TICKETS = 65536


class Proxy:
    """All parts of a running proxy; `async with` starts and stops it.

    One of several workers serves on the socket it is given, and its parent is the HTTP face; what there may be only one
    of belongs to number 0.
    """

    def __init__(self, settings: ProxySettings, opened: socket.socket | None = None, number: int = 0) -> None:
        self.settings = settings
        self.number = number
        self.alone = opened is None
        url = settings.redis_url.get_secret_value()
        self.redis: redis.Redis | None = (
            redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) if url else None
        )
        routes = parse_routes(settings.reverse)
        bases = settings.bases
        private = addresses.parse_networks(settings.private_upstreams)
        name = pseudonym(settings.coap_host, settings.coap_port)
        self.upstream = Upstream(
            guarded_client(bases, private),
            BlobStore(settings.cache_directory, settings.cache_bytes),
            bases,
            _for_tickets(settings),
            read_credentials(settings.credentials_file, bases),
            partial(resolve_checked, bases=bases, private=private),
            name,
            UpstreamLimits(
                settings.max_artifact_bytes,
                settings.max_representation_bytes,
                settings.representation_memory_bytes,
                settings.representation_disk_bytes,
                settings.arriving_bytes,
                settings.upstream_timeout_seconds,
            ),
            read_upstream_keys(settings.upstream_psk_file),
        )
        uploads = Uploads(settings.cache_directory, self.upstream.room, settings.max_representation_bytes)
        cross_proxy = CrossProxy(self.upstream.representations, uploads, bases, name)
        self.downloads = Downloads(Tickets(self.redis), self.redis, fast_path(settings.compiled), pace=_pace(settings))
        own = uris.parse_authorities(settings.known_as) | {(settings.coap_host, settings.coap_port)}
        self.service = ProxyService(self.downloads, self.upstream, cross_proxy, routes, own, self.checks)
        self.gate = Gate(
            self.service.respond, self.service.shows_ticket, self.downloads.wait_of, _limits(settings), _echo(settings)
        )
        self.exchanges = Exchanges(self._send, self.gate.respond, settings.ack_delay_seconds, settings.max_exchanges)
        fast = self.downloads.fast_path
        opened = opened or udp_socket(settings.coap_host, settings.coap_port)
        self.transport = Transport(opened, fast.answer, self._received, fast.batched)
        self.secure: SecureFace | None = None
        if settings.dtls_port and number == 0:
            limits = Limits(sessions=settings.dtls_sessions, idle_seconds=settings.dtls_idle_seconds)
            self.secure = SecureFace(
                udp_socket(settings.coap_host, settings.dtls_port),
                Server(limits),
                Keys(read_keys(settings.psk_file), self.redis),
                self.downloads.answer,
                self.exchanges.received,
            )
        self._tasks: list[asyncio.Task[None]] = []
        self._http: asyncio.Server | None = None
        coap = tuple(base for base in bases if base.scheme == "coap")
        self.http_face = HttpFace(
            coap,
            partial(resolve_checked, bases=coap, private=addresses.parse_networks(settings.private_upstreams)),
            settings.http_to_coap_max_bytes,
            settings.max_artifact_bytes,
            settings.http_to_coap_timeout_seconds,
            name,
        )
        self._faces = AsyncExitStack()

    def _received(self, datagram: bytes, address: tuple[str, int]) -> None:
        self.exchanges.received(datagram, Peer(*address))

    def _send(self, datagram: bytes, peer: Peer) -> None:
        if peer.session and self.secure is not None:
            self.secure.send(datagram, peer)
        else:
            self.transport.send(datagram, (peer.host, peer.port))

    async def __aenter__(self) -> "Proxy":
        if self.alone:
            faces = handlers(self.snapshot, self.checks)
            self._http = await serve(faces, self.settings.host, self.settings.port)
        host, port = self.settings.http_to_coap_host, self.settings.http_to_coap_port
        if port and self.number == 0:
            await self._faces.enter_async_context(serving(self.http_face, host, port, round(DRAIN_SECONDS)))
        self.transport.start()
        if self.secure is not None:
            self.secure.start()
        self._tasks.append(asyncio.create_task(self.downloads.report_for_ever(self.settings.report_seconds)))
        logger.info("serving blocks", extra={"udp": self.transport.port, "worker": self.number})
        return self

    async def __aexit__(self, *_: object) -> None:
        # Both at once: a parent waits for little more than one drain.
        await asyncio.gather(self._faces.aclose(), self.exchanges.drain(DRAIN_SECONDS))
        self.transport.close()
        if self.secure is not None:
            self.secure.close()
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(LAST_REPORT_SECONDS):
                await self.downloads.report()
        except (redis.RedisError, OSError):
            logger.warning("the last progress could not be reported")
        if self._http is not None:
            self._http.close()
        await self.upstream.close()
        if self.redis is not None:
            await self.redis.aclose()

    async def checks(self) -> dict[str, str]:
        """What is wrong, by part; empty when all is well. Without Redis by choice nothing is wrong with that."""
        try:
            if self.redis is not None:
                await self.redis.ping()
        except (redis.RedisError, OSError) as error:
            return {"redis": type(error).__name__}
        return {}

    async def snapshot(self) -> Snapshot:
        """What was counted since the start (metrics.ROWS says what it is)."""
        fast, up, downloads = self.downloads.fast_path, self.upstream.stats, self.downloads
        seen = downloads.seen()
        return {
            "requests": fast.blocks - downloads.long_way + sum(self.service.answers.values()),
            "answers": {dotted(code): count for code, count in sorted(self.service.answers.items())},
            "blocks": fast.blocks,
            "bytesOnAir": fast.bytes_on_air,
            "blocksPerSecond": round(downloads.blocks_per_second),
            "retransmissions": seen.retransmissions,
            "restarts": seen.restarts,
            "rttSecondsSum": round(seen.rtt_sum, 6),
            "rttCount": seen.rtt_count,
            "artifactHits": up.artifact_hits,
            "cacheHits": self.upstream.representations.cache.hits,
            "upstreamRequests": up.requests,
            "upstreamBytes": up.bytes,
            "upstreamFailures": up.failures,
            "datagrams": self.transport.received,
            "malformed": self.exchanges.malformed,
            "duplicates": self.exchanges.duplicates,
            "repeated": self.exchanges.retransmissions,
            "givenUp": self.exchanges.given_up,
            "shed": self.exchanges.shed,
            "gate": asdict(self.gate.counts),
            "waiting": self.exchanges.waiting,
            "downloads": len(downloads.open),
            "httpToCoap": {str(status): count for status, count in self.http_face.statuses.items()},
            **secure.counts(self.secure),
        }


def handlers(
    snapshot: Callable[[], Awaitable[Snapshot]], checks: Callable[[], Awaitable[dict[str, str]]]
) -> dict[str, Handler]:
    """The HTTP face: health (200 when nothing is wrong), the counts as JSON, and as Prometheus wants them."""

    async def health() -> Answer:
        wrong = await checks()
        return json_answer({"status": "error", "checks": wrong}, 503) if wrong else json_answer({"status": "ok"})

    async def stats() -> Answer:
        return json_answer(await snapshot())

    async def told() -> Answer:
        return 200, "text/plain; version=0.0.4", metrics.prometheus(await snapshot()).encode()

    return {"/healthz": health, "/stats": stats, "/metrics": told}


def _for_tickets(settings: ProxySettings) -> Credentials:
    token, base = settings.gateway_token, settings.gateway_base
    if token is None or base is None:
        return Credentials()
    return Credentials({base: {"Authorization": f"GatewayToken {token.get_secret_value()}"}})


def _limits(settings: ProxySettings) -> GateLimits:
    return GateLimits(
        addresses.parse_networks(settings.trusted_networks),
        settings.address_requests_per_second,
        settings.address_bytes_per_second,
        # The last quarter is for those who show a ticket.
        max(1, settings.max_exchanges * 3 // 4),
        settings.max_exchanges_per_address,
    )


def _pace(settings: ProxySettings) -> Buckets:
    rate = settings.ticket_bytes_per_second
    return Buckets(rate, 2 * rate, MAX_PACED_TICKETS)


def _echo(settings: ProxySettings) -> Echo:
    assert settings.echo_secret is not None  # drawn when it was not set
    return Echo(settings.echo_secret.get_secret_value().encode())


async def run(settings: ProxySettings) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Proxy(settings):
        await stop.wait()
