"""For tests and fuzzing: a whole proxy whose datagrams come by call in place of the socket, and what must always hold.

Everything behind the socket is the real thing: fast path, message layer, service, Redis, upstreams.
"""

import asyncio
import logging
from typing import Any

from coap_http_proxy.bootstrap import Proxy
from coap_http_proxy.exchanges import REMEMBERED_REPLIES
from coap_http_proxy.peers import Peer
from coap_http_proxy.settings import ProxySettings
from coap_wire import Code, Message, Type, decode, encode
from datagrams import udp_socket

# An address nobody trusts, and one that the default trusts: nobody outside can forge it.
STRANGER = Peer("192.0.2.7", 40000)
NEIGHBOUR = Peer("127.0.0.1", 40000)
# What an answer to a few bytes may have although it is more than three times as long (RFC 9175 section 2.4).
SMALL_REPLY_BYTES = 136


class Escaped(AssertionError):
    """A datagram did what no datagram may do."""


class Door(Proxy, logging.Handler):
    """A proxy that is knocked at: `knock` gives one datagram and returns what was sent for it.

    Who shows one of `tokens` may be answered at length; other strangers may not.
    """

    def __init__(self, settings: ProxySettings) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        # A socket of its own choice, and no HTTP face: many doors may stand open beside each other.
        Proxy.__init__(self, settings, udp_socket("127.0.0.1", 0))
        self._sent: list[tuple[bytes, Peer]] = []
        self._wrong: list[str] = []
        self.tokens: set[bytes] = set()

    async def __aenter__(self) -> "Door":
        await super().__aenter__()
        logging.getLogger().addHandler(self)
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self._wrong.append(str(context)))
        return self

    async def __aexit__(self, *problem: object) -> None:
        logging.getLogger().removeHandler(self)
        await super().__aexit__(*problem)

    def emit(self, record: logging.LogRecord) -> None:
        """An error nobody foresaw is logged with its traceback: here it is one too many."""
        if record.exc_info or record.levelno >= logging.ERROR:
            self._wrong.append(logging.Formatter().format(record))

    def _send(self, datagram: bytes, peer: Peer, *_: Any) -> None:
        self._sent.append((datagram, peer))

    async def knock(self, datagram: bytes, peer: Peer = NEIGHBOUR) -> list[bytes]:
        """What is sent for `datagram`, separate responses too, which are acknowledged; raises Escaped."""
        self._sent.clear()
        fast = self.downloads.fast_path.answer(datagram)
        if fast is not None:
            self._sent.append((fast, peer))
        else:
            self.exchanges.received(datagram, peer)
            await self._settled(peer)
        replies = [sent for sent, _ in self._sent]
        self._hold(datagram, peer)
        return replies

    async def _settled(self, peer: Peer) -> None:
        acknowledged = 0
        while True:
            for sent, _ in self._sent[acknowledged:]:
                acknowledged += 1
                if sent[0] >> 4 & 3 == Type.CON:
                    self.exchanges.received(encode(Message(Type.ACK, Code.EMPTY, sent[2] << 8 | sent[3])), peer)
            if not self.exchanges.waiting:
                return
            await asyncio.sleep(0.0005)

    def _hold(self, datagram: bytes, peer: Peer) -> None:
        allowed = max(3 * len(datagram), SMALL_REPLY_BYTES)
        if peer.host != STRANGER.host or any(token in datagram for token in self.tokens):
            allowed = 0xFFFF
        if self._wrong:
            raise Escaped(f"{datagram.hex()} -> {self._wrong.pop()}")
        if any(to != peer for _, to in self._sent):
            raise Escaped(f"{datagram.hex()} was answered to somebody else")
        if len(self._sent) > 2:
            raise Escaped(f"{datagram.hex()} was answered {len(self._sent)} times")
        for sent, _ in self._sent:
            decode(sent)
            if len(sent) > allowed:
                raise Escaped(f"{len(datagram)} bytes were answered by {len(sent)}: {datagram.hex()}")
        if len(self.exchanges._seen) > REMEMBERED_REPLIES:
            raise Escaped("more replies are remembered than may be")
