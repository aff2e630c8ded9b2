"""For tests: a journey told as a story, a scripted device, a stranger, an update manager that speaks some DDI."""

import asyncio
import json
import secrets
import socket
from dataclasses import dataclass, field
from typing import Any, Self, cast

from coap_wire import Code, Message, Type, decode, encode, is_request
from coap_wire import options as option
from lwm2m import tlv
from lwm2m_gateway.sessions import events, journey, records
from lwm2m_gateway.sessions.phases import TRANSITIONS, Phase
from lwm2m_gateway.sessions.records import Pace

OBJECTS = b'</>;rt="oma.lwm2m";ct=11542,</1/0>,</3/0>,</5/0>'
PACE = Pace(soak=10, silence=1000, reboot=300, ask_again=30, delta=20)
OLD, NEW = "1.0.0", "1.1.0"
# As long as such an address is in a real house.
URL = (
    "http://update-manager.example.org:8080/DEFAULT/controller/v1/urn:imei:490154203237518"
    "/softwaremodules/123456/artifacts/zephyr.signed.bin"
)
FIRMWARE_PATHS = (("5", "0", "3"), ("5", "0", "5"))


class ScriptedDevice(asyncio.DatagramProtocol):
    """Answers Reads in TLV and notifies; `misbehave` may hold: `deaf`, `refuses_uri`, `no_observe`, `never_resets`.

    `uris` and `executes` record what the server did; `state`, `result`, `version` are set by the test.
    """

    def __init__(self, endpoint: str, server_port: int, *, misbehave: frozenset[str] = frozenset()) -> None:
        self.endpoint, self.misbehave = endpoint, misbehave
        self.state, self.result = 0, 0
        # None: it has no such resource.
        self.version: str | None = "1.0.0"
        # Object 26250, announced when the hash of an image is set; a text where the number belongs, if told so.
        self.image = b""
        self.formats: int | str = 3
        self.uris: list[str] = []
        self.executes = 0
        self.requests: list[Message] = []
        self._server = ("127.0.0.1", server_port)
        self._observers: dict[tuple[str, ...], bytes] = {}
        self._replies: asyncio.Queue[Message] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None
        self._mid, self._sequence = secrets.randbelow(60000), 1
        self.location = ""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def _send(self, message: Message) -> None:
        assert self._transport is not None
        self._transport.sendto(encode(message), self._server)

    def datagram_received(self, data: bytes, addr: object) -> None:
        message = decode(data)
        if is_request(message.code):
            self.requests.append(message)
            if "deaf" not in self.misbehave:
                self._serve(message)
        elif message.type != Type.RST and message.code != 0:
            self._replies.put_nowait(message)

    @property
    def observed(self) -> dict[tuple[str, ...], bytes]:
        """Tokens of the observations it holds, by path."""
        return self._observers

    def _serve(self, request: Message) -> None:
        path = request.uri_path
        code, payload, options = self._answer(request, path)
        if code == Code.CONTENT and request.uint(option.OBSERVE) == 0 and "no_observe" not in self.misbehave:
            self._observers[path] = request.token
            options = ((option.OBSERVE, b"\1"), *options)
        self._send(Message(Type.ACK, code, request.mid, request.token, options, payload))

    def _answer(self, request: Message, path: tuple[str, ...]) -> tuple[int, bytes, tuple[tuple[int, bytes], ...]]:
        if request.code == Code.GET:
            entries = self._entries(path)
            if entries is None:
                return Code.NOT_FOUND, b"", ()
            return Code.CONTENT, tlv.encode(entries), ((option.CONTENT_FORMAT, (11542).to_bytes(2, "big")),)
        if request.code == Code.PUT and path == ("5", "0", "1"):
            uri = request.payload.decode()
            self.uris.append(uri)
            if uri and "refuses_uri" in self.misbehave:
                return Code.BAD_REQUEST, b"", ()
            # A new address begins anew (object 5, resource 5: "initial value").
            self.result = 0
            if not uri and "never_resets" not in self.misbehave:
                self.state = 0
            return Code.CHANGED, b"", ()
        if request.code == Code.POST and path == ("5", "0", "2"):
            self.executes += 1
            return (Code.CHANGED if self.state == 2 else Code.METHOD_NOT_ALLOWED), b"", ()
        return Code.METHOD_NOT_ALLOWED, b"", ()

    def _entries(self, path: tuple[str, ...]) -> list[tlv.Tlv] | None:
        def leaf(number: int, value: bytes) -> tlv.Tlv:
            return tlv.Tlv(tlv.Kind.RESOURCE, number, value)

        device = {0: b"ACME", 1: b"<b>model</b>", 9: tlv.encode_integer(80)}
        if self.version is not None:
            device[3] = self.version.encode()
        uri = (self.uris[-1] if self.uris else "").encode()
        update = {1: uri, 3: tlv.encode_integer(self.state), 5: tlv.encode_integer(self.result)}
        formats = self.formats.encode() if isinstance(self.formats, str) else tlv.encode_integer(self.formats)
        image = {0: self.image, 3: formats} if self.image else None
        resources = {"3": device, "5": update, "26250": image}.get(path[0] if path else "")
        if resources is None:
            return None
        if len(path) == 2:
            return [leaf(number, value) for number, value in resources.items()]
        value = resources.get(int(path[2])) if len(path) == 3 else None
        return None if value is None else [leaf(int(path[2]), value)]

    async def _ask(self, code: int, options: tuple[tuple[int, bytes], ...], payload: bytes = b"") -> Message:
        self._mid += 1
        token = secrets.token_bytes(4)
        self._send(Message(Type.CON, code, self._mid, token, options, payload))
        async with asyncio.timeout(10):
            while True:
                reply = await self._replies.get()
                if reply.token == token:
                    return reply

    async def register(self, *query: str) -> Message:
        """Register; remembers the location. `query` replaces the default parameters."""
        items = query or (f"ep={self.endpoint}", "lt=60", "lwm2m=1.1", "b=U")
        options = [(option.URI_PATH, b"rd"), (option.CONTENT_FORMAT, b"\x28")]
        options += [(option.URI_QUERY, item.encode()) for item in items]
        self._observers.clear()
        reply = await self._ask(Code.POST, tuple(options), OBJECTS + (b",</26250/0>" if self.image else b""))
        if reply.code == Code.CREATED:
            self.location = reply.location_path[1]
        return reply

    async def update(self) -> Message:
        """Send an Update without parameters."""
        return await self._ask(Code.POST, ((option.URI_PATH, b"rd"), (option.URI_PATH, self.location.encode())))

    async def deregister(self) -> Message:
        """Say good-bye."""
        return await self._ask(Code.DELETE, ((option.URI_PATH, b"rd"), (option.URI_PATH, self.location.encode())))

    @property
    def watched(self) -> bool:
        """Whether State and Result are observed by now."""
        return all(path in self._observers for path in FIRMWARE_PATHS)

    async def show(self, state: int, result: int = 0) -> None:
        """Set State and Result, and notify who observes."""
        self.state, self.result = state, result
        self._sequence += 1
        for path in FIRMWARE_PATHS:
            self.notify(path, sequence=self._sequence)
            await asyncio.sleep(0.01)

    def notify(self, *paths: tuple[str, ...], sequence: int) -> None:
        """Notify who observes (State and Result when no path is named) with any sequence number."""
        for path in paths or FIRMWARE_PATHS:
            token = self._observers.get(path)
            entries = self._entries(path)
            if token is None or entries is None:
                continue
            self._mid += 1
            options = ((option.OBSERVE, bytes((sequence,))), (option.CONTENT_FORMAT, (11542).to_bytes(2, "big")))
            self._send(Message(Type.CON, Code.CONTENT, self._mid, token, options, tlv.encode(entries)))


class Story:
    """A journey told step by step; keeps effects and feedback, and holds each step to the table and to 1 KiB."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[records.Feedback] = []
        self.effects: list[events.Effect] = []
        self.journey, effects = journey.begin(7, NEW, URL, "ab" * 32, 1000, self.now, PACE)
        self._note(effects)

    def _note(self, effects: tuple[events.Effect, ...]) -> None:
        self.effects += effects
        if any(isinstance(effect, events.DeliverFeedback) for effect in effects):
            self.told.append(self.journey.feedback[0])
            self.then(events.FeedbackDelivered(), 0)

    def then(self, event: events.Event, seconds: float = 1.0) -> "Story":
        """An event, some seconds later."""
        self.now += seconds
        before = self.journey.phase
        self.journey, effects = journey.step(self.journey, event, self.now, PACE)
        assert self.journey.phase == before or self.journey.phase in _reachable(before)
        assert len(records.encode(self.journey)) < 1024
        assert records.decode(records.encode(self.journey)) == self.journey
        self._note(effects)
        return self

    def reads(self, state: int, version: str, result: int = 0, seconds: float = 1.0) -> "Story":
        """A full read of the device, which says nothing of its image."""
        return self.then(events.Observed(state, result, version, full=True), seconds)

    def wants(self, kind: type) -> bool:
        """Whether such an effect was asked for, ever."""
        return any(isinstance(effect, kind) for effect in self.effects)

    def offered(self) -> "Story":
        """Up to an offer that was accepted."""
        return self.reads(0, OLD).then(events.UriWritten(True, "2.04"))

    def rebooting(self) -> "Story":
        """Up to an Execute that was accepted."""
        self.offered().then(events.Observed(state=1)).then(events.Observed(state=2)).then(events.Executed(True, "2.04"))
        return self


def _reachable(phase: Phase) -> set[Phase]:
    seen: set[Phase] = set()
    edge = {phase}
    while edge:
        seen |= edge
        edge = {after for one in edge for after in TRANSITIONS[one]} - seen
    return seen


class Stranger:
    """A socket that sends any bytes and hands out what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(("127.0.0.1", port))
        self._mid = 1000

    def send(self, datagram: bytes) -> None:
        """Send; an ICMP error of an earlier datagram is no concern of this one."""
        try:
            self._socket.send(datagram)
        except OSError:
            self._socket.send(datagram)

    async def receive(self, seconds: float = 5.0) -> bytes:
        """The next datagram."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._socket, 65535), seconds)

    async def post(
        self, *query: bytes, body: bytes = OBJECTS, more: tuple[tuple[int, bytes], ...] = (), path: bytes = b"rd"
    ) -> Message:
        """A Register with raw queries; its answer."""
        self._mid += 1
        options = ((option.URI_PATH, path), *((option.URI_QUERY, item) for item in query), *more)
        request = Message(Type.CON, Code.POST, self._mid, self._mid.to_bytes(2, "big"), options, body)
        self.send(encode(request))
        while True:
            reply = decode(await self.receive())
            if reply.token == request.token or (reply.code == Code.EMPTY and reply.type == Type.RST):
                return reply

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()


@dataclass
class FakeManager:
    """DDI for one tenant over real HTTP: `deployments` by controller id, `feedback` as it came in."""

    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancels: dict[str, int] = field(default_factory=dict)
    feedback: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    polls: list[str] = field(default_factory=list)
    broken: bool = False
    # Answers to questions for a delta, the last one again and again; without any, no artifact has such a link.
    deltas: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "FakeManager":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def assign(self, controller: str, action_id: int, version: str, size: int = 1000) -> None:
        """Offer an image to a device."""
        url = f"http://127.0.0.1:{self.port}/artifact"
        artifact: dict[str, Any] = {
            "filename": "fw.bin",
            "hashes": {"sha256": "ab" * 32, "sha1": "", "md5": ""},
            "size": size,
            "_links": {"download-http": {"href": url}},
        }
        if self.deltas:
            href = f"http://127.0.0.1:{self.port}/DEFAULT/controller/v1/{controller}/delta"
            artifact["_links"] = {"download-http": {"href": url}, "delta": {"href": href}}
        chunk = {"part": "firmware", "version": version, "name": "fw", "artifacts": [artifact]}
        deployment = {"download": "forced", "update": "forced", "chunks": [chunk]}
        self.deployments[controller] = {"id": str(action_id), "deployment": deployment}

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            writer.close()
            return
        lines = head.split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        status, answer = self._route(method, path, body)
        if headers.get("authorization") != "GatewayToken secret":
            status, answer = 401, {}
        if self.broken:
            status, answer = 503, {}
        data = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()

    def _route(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        controller, *rest = path.removeprefix("/DEFAULT/controller/v1/").split("/")
        base = f"http://127.0.0.1:{self.port}/DEFAULT/controller/v1/{controller}"
        if not rest:
            if self.broken:
                return 503, {}
            self.polls.append(controller)
            links: dict[str, Any] = {}
            if controller in self.cancels:
                links["cancelAction"] = {"href": f"{base}/cancelAction/{self.cancels[controller]}"}
            elif controller in self.deployments:
                links["deploymentBase"] = {"href": f"{base}/deploymentBase/{self.deployments[controller]['id']}?c=1"}
            if controller not in self.attributes:
                links["configData"] = {"href": f"{base}/configData"}
            return 200, {"config": {"polling": {"sleep": "00:05:00"}}, "_links": links}
        if rest == ["configData"]:
            self.attributes[controller] = body["data"]
            return 200, {}
        if method == "GET" and rest[0] == "cancelAction":
            return 200, {"id": rest[1], "cancelAction": {"stopId": rest[1]}}
        if method == "GET" and rest[0].startswith("delta"):
            self.asked.append(rest[0])
            return self.deltas.pop(0) if len(self.deltas) > 1 else self.deltas[0]
        if method == "GET":
            return 200, self.deployments[controller]
        if self.broken:
            return 503, {}
        self.feedback.append((controller, int(rest[1]), body["status"]))
        if body["status"]["execution"] == "closed":
            self.deployments.pop(controller, None)
            self.cancels.pop(controller, None)
        return 200, {}
