"""A thin LwM2M server that only keeps registrations: what a fleet is measured against, with a mind of its own.

It takes Register, Update and De-register, lets registrations expire as it was told (OMA Core 1.1, 6.2), and counts.
Whether a fleet kept its registrations is this server's word, not the fleet's.
"""

import asyncio
from typing import Any, Final, cast

from coap_wire import Code, DecodeError, Message, Type, decode, encode, is_request
from coap_wire.options import LOCATION_PATH

Address = tuple[str, int]
_DEFAULT_LIFETIME_SECONDS: Final = 86_400
_SWEEP_SECONDS: Final = 1.0
# Far above any fleet of one machine; strangers get no more of the memory.
_MAX_REGISTRATIONS: Final = 200_000


class _Registration:
    __slots__ = ("endpoint", "expires_at", "lifetime", "peer")

    def __init__(self, endpoint: str, lifetime: int, peer: Address, now: float) -> None:
        self.endpoint = endpoint
        self.lifetime = lifetime
        self.peer = peer
        self.expires_at = now + lifetime


class Registrar(asyncio.DatagramProtocol):
    """One socket; times are those of the running loop, in seconds."""

    def __init__(self) -> None:
        self.registrations: dict[str, _Registration] = {}
        self.counts = dict.fromkeys(
            ("registered", "registeredAgain", "updated", "unknown", "deregistered", "expired", "duplicates"), 0
        )
        self._replies: dict[Address, tuple[int, bytes]] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def open(self, local: Address) -> None:
        """Bind the socket."""
        await self._loop.create_datagram_endpoint(lambda: self, local_addr=local)
        self._sweep()

    @property
    def port(self) -> int:
        """Port of the socket."""
        assert self._transport is not None, "the registrar is not open"
        return int(self._transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        """Close the socket; what is registered stays in the report."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._transport is not None:
            self._transport.close()

    def forget(self) -> None:
        """As a server that was restarted without its memory."""
        self.registrations.clear()

    def report(self) -> dict[str, int]:
        """How many are registered now, and what has happened."""
        return {"registeredNow": len(self.registrations)} | self.counts

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """One datagram; what is no request is nobody's."""
        peer: Address = (addr[0], addr[1])
        try:
            request = decode(data)
            if not is_request(request.code) or request.type not in (Type.CON, Type.NON):
                return
            # RFC 7252 section 4.5: a confirmable message that was sent again gets the same answer, and does nothing.
            last = self._replies.get(peer)
            if last is not None and last[0] == request.mid:
                self.counts["duplicates"] += 1
                reply = last[1]
            else:
                reply = encode(self._answer(request, peer))
                if len(self._replies) >= _MAX_REGISTRATIONS:
                    self._replies.clear()
                self._replies[peer] = (request.mid, reply)
        except DecodeError:
            return
        assert self._transport is not None
        self._transport.sendto(reply, peer)

    def _answer(self, request: Message, peer: Address) -> Message:
        path, now = request.uri_path, self._loop.time()
        code: int
        location: tuple[tuple[int, bytes], ...] = ()
        if path == ("rd",) and request.code == Code.POST:
            code, location = self._register(request, peer, now)
        elif len(path) == 2 and path[0] == "rd" and request.code in (Code.POST, Code.DELETE):
            code = self._known(request, path[1], peer, now)
        else:
            code = Code.NOT_FOUND
        kind = Type.ACK if request.type == Type.CON else Type.NON
        return Message(kind, code, request.mid, request.token, location)

    def _register(self, request: Message, peer: Address, now: float) -> tuple[int, tuple[tuple[int, bytes], ...]]:
        query = dict(item.partition("=")[::2] for item in request.uri_query)
        endpoint, lifetime = query.get("ep", ""), query.get("lt", str(_DEFAULT_LIFETIME_SECONDS))
        if not endpoint or not lifetime.isdecimal() or len(lifetime) > 10:
            return Code.BAD_REQUEST, ()
        if endpoint not in self.registrations and len(self.registrations) >= _MAX_REGISTRATIONS:
            return Code.SERVICE_UNAVAILABLE, ()
        again = self.registrations.get(endpoint)
        self.counts["registeredAgain" if again else "registered"] += 1
        self.registrations[endpoint] = _Registration(endpoint, int(lifetime), peer, now)
        # The name is the location, so that a second Register leaves no first one behind.
        return Code.CREATED, ((LOCATION_PATH, b"rd"), (LOCATION_PATH, endpoint.encode()))

    def _known(self, request: Message, location: str, peer: Address, now: float) -> int:
        found = self.registrations.get(location)
        if found is None:
            self.counts["unknown"] += 1
            return Code.NOT_FOUND
        if request.code == Code.DELETE:
            del self.registrations[found.endpoint]
            self.counts["deregistered"] += 1
            return Code.DELETED
        found.peer, found.expires_at = peer, now + found.lifetime
        self.counts["updated"] += 1
        return Code.CHANGED

    def _sweep(self) -> None:
        now = self._loop.time()
        for name in [name for name, found in self.registrations.items() if found.expires_at < now]:
            del self.registrations[name]
            self.counts["expired"] += 1
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
