"""A server on loopback that does what a test says: an LwM2M server's half of the talk, and files by Block2."""

import asyncio
import secrets
from collections.abc import Callable
from typing import cast

from coap_wire import Block, Code, Message, Type, decode, decode_block, encode, encode_block, encode_uint
from coap_wire.options import ACCEPT, BLOCK2, ETAG, LOCATION_PATH, OBSERVE, SIZE2, URI_PATH
from lwm2m.paths import Path

Address = tuple[str, int]


class ScriptedServer(asyncio.DatagramProtocol):
    """Answers Register, Update, De-register and file requests; `on_file` may answer a file request otherwise."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.registrations: asyncio.Queue[Message] = asyncio.Queue()
        self.updates: asyncio.Queue[Message] = asyncio.Queue()
        self.notifications: asyncio.Queue[Message] = asyncio.Queue()
        self.file_requests: list[Message] = []
        self.deregistered = 0
        self.device: Address = ("", 0)
        self.files: dict[tuple[str, ...], bytes] = {}
        self.known = True
        self.silent = False
        self.on_file: Callable[[Message], Message | None] | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[bytes, asyncio.Future[Message]] = {}
        self._mid = 1000

    async def open(self, port: int = 0) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def uri(self, path: str) -> str:
        return f"coap://127.0.0.1:{self.port}/{path}"

    async def ask(
        self, code: int, path: Path, payload: bytes = b"", options: tuple[tuple[int, bytes], ...] = ()
    ) -> Message:
        """Send the device a confirmable request, with one more try, and wait for the response."""
        self._mid += 1
        segments = tuple((URI_PATH, segment.encode()) for segment in path.segments)
        message = Message(Type.CON, code, self._mid, secrets.token_bytes(4), (*segments, *options), payload)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[message.token] = future
        for _ in range(8):
            self._send(message)
            done, _pending = await asyncio.wait({future}, timeout=0.3)
            if done:
                return future.result()
        raise AssertionError(f"the device did not answer {path}")

    async def read(self, path: Path) -> str:
        """The value as text, whatever format the client answers in unasked."""
        answer = await self.ask(Code.GET, path, options=((ACCEPT, b""),))
        assert answer.code == Code.CONTENT, answer
        return answer.payload.decode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.datagrams.append(data)
        message = decode(data)
        if self.silent:
            return
        if message.code >> 5 == 0 and message.code:
            reply = self._request(message, addr)
            if reply is not None:
                self._send(reply, addr)
        elif message.token in self._waiting and message.type in (Type.ACK, Type.NON) and message.code:
            future = self._waiting.pop(message.token)
            future.set_result(message)
        elif message.option(OBSERVE) is not None:
            if message.type == Type.CON:
                self._send(Message(Type.ACK, 0, message.mid), addr)
            self.notifications.put_nowait(message)

    def _send(self, message: Message, to: Address | None = None) -> None:
        assert self._transport is not None
        self._transport.sendto(encode(message), to or self.device)

    def _request(self, message: Message, addr: Address) -> Message | None:
        path = message.uri_path
        if path == ("rd",) and message.code == Code.POST:
            self.device = addr
            self.known = True
            self.registrations.put_nowait(message)
            location = ((LOCATION_PATH, b"rd"), (LOCATION_PATH, b"id7"))
            return Message(Type.ACK, Code.CREATED, message.mid, message.token, location)
        if path[:1] == ("rd",) and message.code == Code.POST:
            self.device = addr
            self.updates.put_nowait(message)
            code = Code.CHANGED if self.known else Code.NOT_FOUND
            return Message(Type.ACK, code, message.mid, message.token)
        if path[:1] == ("rd",):
            self.deregistered += 1
            return Message(Type.ACK, Code.DELETED, message.mid, message.token)
        self.file_requests.append(message)
        if self.on_file is not None:
            return self.on_file(message)
        return self.file_reply(message)

    def file_reply(self, message: Message, etag: bytes = b"") -> Message:
        """A block of a file, as Updraft's proxy sends it."""
        content = self.files.get(message.uri_path)
        if content is None:
            return Message(Type.ACK, Code.NOT_FOUND, message.mid, message.token)
        asked = decode_block(message.option(BLOCK2) or b"")
        end = asked.offset + asked.size
        options = (
            *(((ETAG, etag),) if etag else ()),
            (BLOCK2, encode_block(Block(asked.num, end < len(content), asked.szx))),
            (SIZE2, encode_uint(len(content))),
        )
        payload = content[asked.offset : end]
        return Message(Type.ACK, Code.CONTENT, message.mid, message.token, options, payload)
