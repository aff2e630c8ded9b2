"""The gateway's UDP face: what aiocoap gets to see, and how much of it is remembered.

aiocoap 0.4.17 raises out of its reader for option text that is not UTF-8, keeps every request of the last 247 seconds
with a timer each, however many there are, and opens TCP and TLS beside UDP. A stranger must be able to cause no
traceback and fill no memory: so datagrams are checked before, and the table of duplicates is ours.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Any, Final

import aiocoap
from aiocoap import resource
from aiocoap.messagemanager import MessageManager
from aiocoap.transports.udp6 import MessageInterfaceUDP6

from coap_wire import DecodeError, Message, Type, decode, decode_block, is_request, is_response
from coap_wire import options as option

logger = logging.getLogger(__name__)

# RFC 7252 section 4.8.2; and how many are kept meanwhile, oldest forgotten first.
EXCHANGE_LIFETIME_SECONDS: Final = 247.0
REMEMBERED_MESSAGES: Final = 16384
_TEXTS: Final = frozenset(
    {
        option.URI_HOST,
        option.LOCATION_PATH,
        option.URI_PATH,
        option.URI_QUERY,
        option.LOCATION_QUERY,
        option.PROXY_URI,
        option.PROXY_SCHEME,
    }
)
# No option that means something here is longer (RFC 7252 section 5.10).
_MAX_OPTION_BYTES: Final = 1034
# aiocoap fetches block after block of an answer that never ends, of a notification even without a time limit.
MAX_ANSWER_BYTES: Final = 64 << 10


class Face:
    """One bound context; `context` also carries requests to devices, from the same port."""

    def __init__(self, context: aiocoap.Context) -> None:
        self.context = context
        self.malformed = 0
        # When a request came, its token, and its answer once there is one; oldest first.
        self._seen: OrderedDict[tuple[Any, int], tuple[float, bytes, aiocoap.Message | None]] = OrderedDict()
        (self._manager,) = (interface.token_interface for interface in context.request_interfaces)
        assert isinstance(self._manager, MessageManager)
        self._udp: MessageInterfaceUDP6 = self._manager.message_interface
        self._take = self._udp.datagram_msg_received
        self._udp.datagram_msg_received = self._received
        self._failed = self._manager.dispatch_error
        self._manager.dispatch_error = self._fail_later
        self._manager._deduplicate_message = self._is_duplicate
        self._manager._store_response_for_duplicates = self._keep_answer

    @property
    def remembered(self) -> int:
        """How many requests are remembered for duplicates."""
        return len(self._seen)

    def silence(self, address: str) -> None:
        """Send nothing more to `host:port` of what is being repeated or waits there; aiocoap would go on for 93 s."""
        for key in [key for key in self._manager._active_exchanges if key[0].hostinfo == address]:
            _, timer = self._manager._active_exchanges.pop(key)
            timer.cancel()
            self._manager._backlogs.pop(key[0], None)

    async def shutdown(self) -> None:
        """Let the port go."""
        await self.context.shutdown()

    def _fail_later(self, failure: Exception, remote: Any) -> None:
        # The kernel may tell it in the middle of a sending; aiocoap would forget the exchange and then keep half of it,
        # until "backlogs/active_exchange relation violated".
        asyncio.get_running_loop().call_soon(self._failed, failure, remote)

    def _received(self, data: bytes, ancdata: Any, flags: int, address: Any) -> None:
        try:
            check(decode(data))
        except DecodeError as error:
            self.malformed += 1
            logger.debug("a datagram was rejected: %s", error)
            # RFC 7252 section 4.2: a confirmable message with a format error is rejected by a Reset.
            if len(data) >= 4 and data[0] >> 4 == 0b0100:
                self._udp.transport.sendmsg(b"\x70\x00" + data[2:4], [], 0, address)
            return
        self._take(data, ancdata, flags, address)

    def _is_duplicate(self, message: aiocoap.Message) -> bool:
        now = time.monotonic()
        while self._seen and next(iter(self._seen.values()))[0] < now - EXCHANGE_LIFETIME_SECONDS:
            self._seen.popitem(last=False)
        key = (message.remote, message.mid)
        known = self._seen.get(key)
        # Another token is another request: a device that rebooted counts its message ids from the start.
        if known is None or known[1] != message.token:
            self._seen.pop(key, None)
            self._seen[key] = (now, message.token, None)
            while len(self._seen) > REMEMBERED_MESSAGES:
                self._seen.popitem(last=False)
            return False
        if known[2] is not None and message.mtype is aiocoap.CON:
            self._manager._send_initially(known[2])
        return True

    def _keep_answer(self, message: aiocoap.Message) -> None:
        key = (message.remote, message.mid)
        if known := self._seen.get(key):
            self._seen[key] = (known[0], known[1], message)


def check(message: Message) -> None:
    """Raise DecodeError for what decodes as a message and which aiocoap cannot bear."""
    for number, value in message.options:
        if len(value) > _MAX_OPTION_BYTES:
            raise DecodeError(f"option {number} of {len(value)} bytes")
        if number in _TEXTS:
            try:
                value.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DecodeError(f"option {number} is not UTF-8") from error
        elif number in (option.BLOCK1, option.BLOCK2):
            block = decode_block(value)
            if number == option.BLOCK2 and is_response(message.code) and block.offset >= MAX_ANSWER_BYTES:
                raise DecodeError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    if is_request(message.code) and message.type in (Type.ACK, Type.RST):
        raise DecodeError("a request in an acknowledgement")


async def open_face(site: resource.Site, host: str, port: int) -> Face:
    """Bind UDP at `host`:`port`, and nothing else."""
    return Face(await aiocoap.Context.create_server_context(site, bind=(host, port), transports=["udp6"]))
