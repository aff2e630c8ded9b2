"""Checks at connect time: URI against the allow-list, then each address its host resolves to, which is connected to.

Names are resolved here, once; the address that was checked is the one connected to, so that a name server which
answers differently the second time (DNS rebinding) is never asked a second time. TLS and `Host` still see the name.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from coap_http_proxy.connections import Connections, Streams
from coap_http_proxy.mapping import addresses, uris

logger = logging.getLogger(__name__)

# Addresses of a host and port, in the order in which they should be tried; raises OSError.
Resolve = Callable[[str, int], Awaitable[list[str]]]

CONNECT_TIMEOUT_SECONDS = 5.0
TIMEOUT_SECONDS = 15.0
# A name may have any number of addresses; more are not tried.
MAX_ADDRESSES = 4


class ForbiddenAddress(OSError):
    """The host is no upstream, or leads only to addresses this proxy must not connect to."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def resolve_checked(
    host: str,
    port: int,
    bases: Iterable[uris.Base],
    private: tuple[addresses.Network, ...] = (),
    resolve: Resolve = resolve_by_system,
) -> tuple[str, int]:
    """The address to connect to for `host`:`port` of an allowed upstream; raises OSError (ForbiddenAddress)."""
    if not any((host.lower().rstrip("."), port) == (base.host, base.port) for base in bases):
        raise ForbiddenAddress(f"{host}:{port} is not an upstream of this proxy")
    return (await _checked(host, port, private, resolve))[0], port


async def _checked(host: str, port: int, private: tuple[addresses.Network, ...], resolve: Resolve) -> list[str]:
    """The addresses that may be connected to, at least one."""
    if addresses.literal(host) is not None:
        return [host]  # who wrote an address into the allow-list meant it
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            found = await resolve(host, port)
    except UnicodeError as error:
        raise ForbiddenAddress(f"{host!r} is no name") from error
    good, reasons = [], []
    for text in found:
        address = addresses.literal(text)
        reason = "no address" if address is None else addresses.refused_because(address, private)
        if reason is None:
            good.append(text)
        else:
            reasons.append(f"{text} is {reason}")
    if not good:
        logger.warning("refused to connect to %s: %s", host, "; ".join(reasons[:MAX_ADDRESSES]) or "no address")
        raise ForbiddenAddress(f"{host} leads to no address that may be connected to")
    return good[:MAX_ADDRESSES]


class _GuardedTransport(Connections):
    """Asks for nothing that the allow-list does not hold, redirects included: they pass here like any request."""

    def __init__(
        self,
        bases: tuple[uris.Base, ...],
        private: tuple[addresses.Network, ...],
        resolve: Resolve,
        verify: ssl.SSLContext | bool,
        limits: httpx.Limits,
    ) -> None:
        async def connect(host: str, port: int, context: ssl.SSLContext | None) -> Streams:
            found = await _checked(host, port, private, resolve)
            name = host if context else None
            for address in found[:-1]:
                try:
                    # A part of the time each: one that says nothing leaves some for the next.
                    async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS / len(found)):
                        return await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
                except OSError:  # TimeoutError is one
                    continue
            return await asyncio.open_connection(found[-1], port, ssl=context, server_hostname=name)

        super().__init__(connect, httpx.create_ssl_context(verify=verify, trust_env=False), limits)
        self._bases = bases

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            uris.allowed(str(request.url), self._bases)
        except uris.ForbiddenUri as error:
            raise httpx.UnsupportedProtocol(str(error), request=request) from error
        return await super().handle_async_request(request)


def guarded_client(
    bases: tuple[uris.Base, ...],
    private: tuple[addresses.Network, ...] = (),
    resolve: Resolve = resolve_by_system,
    verify: ssl.SSLContext | bool = True,
    limits: httpx.Limits | None = None,
) -> httpx.AsyncClient:
    """An HTTP client that reaches `bases` and nothing else; what is refused raises httpx.TransportError.

    `private` are networks that names may lead to besides public addresses. Proxies of the environment are not used.
    """
    limits = limits or httpx.Limits(max_connections=100, max_keepalive_connections=100)
    return httpx.AsyncClient(
        transport=_GuardedTransport(bases, private, resolve, verify, limits),
        timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
        follow_redirects=False,
        # One client asks for all devices: what an upstream would remember one by is not shown for another.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        trust_env=False,
    )
