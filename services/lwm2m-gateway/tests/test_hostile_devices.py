"""Nonsense at the LwM2M door: a clear 4.xx or silence, bounded memory, and good devices are led on as before."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_wire import Block, Code, Message, Type, encode, encode_block
from coap_wire import options as option
from coap_wire.testing import hostile_datagrams
from lwm2m import tlv
from lwm2m_gateway.bootstrap import Service
from lwm2m_gateway.settings import GatewaySettings
from lwm2m_gateway.testing import OBJECTS, FakeManager, ScriptedDevice, Stranger
from updraft_local.ports import free_port


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def gateway(redis_url: str, manager: FakeManager, **changes: Any) -> AsyncIterator[Service]:
    """A gateway on free ports, in a hurry."""
    given: dict[str, Any] = {
        "settle_seconds": 0.02,
        "soak_seconds": 0.3,
        "ask_again_seconds": 0.3,
        "request_seconds": 3.0,
        "sweep_seconds": 60.0,
        **changes,
    }
    settings = GatewaySettings(
        redis_url=SecretStr(redis_url),
        port=free_port(),
        coap_port=free_port(2),
        ddi_url=f"http://127.0.0.1:{manager.port}",
        gateway_token=SecretStr("secret"),
        proxy_uri="coap://127.0.0.1:5685",
        **given,
    )
    async with Service(settings) as service:
        yield service


@pytest.fixture
async def manager(redis_url: str) -> AsyncIterator[FakeManager]:
    client = redis.Redis.from_url(redis_url)
    await client.flushdb()
    async with FakeManager() as made:
        yield made
    await client.aclose()


async def events_of(redis_url: str, service: Service, kind: str) -> list[dict[str, Any]]:
    """Uplink events of a kind so far."""
    await service.uplink.flush()
    client = redis.Redis.from_url(redis_url)
    entries: Any = await client.xrange("updraft:uplink")
    await client.aclose()
    events = [json.loads(fields[b"event"]) for _, fields in entries]
    return [event for event in events if event["type"] == kind]


@asynccontextmanager
async def stranger(service: Service) -> AsyncIterator[Stranger]:
    made = Stranger(service.settings.coap_port)
    yield made
    made.close()


async def registered(device: ScriptedDevice) -> Message:
    """Register as devices do: again when no answer comes, for a flood costs datagrams."""
    for _ in range(8):
        try:
            async with asyncio.timeout(1.5):
                return await device.register()
        except TimeoutError:
            continue
    raise AssertionError("the gateway answers no more")


async def test_a_few_thousand_hostile_datagrams_later_a_device_is_still_taken_in(
    redis_url: str, manager: FakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    register = encode(
        Message(Type.CON, Code.POST, 7, b"t", ((11, b"rd"), (12, b"\x28"), (15, b"ep=x"), (15, b"lt=60")))
    )
    async with gateway(redis_url, manager) as service, stranger(service) as noise:
        good = ScriptedDevice("good", service.settings.coap_port)
        async with good:
            for number, datagram in enumerate(hostile_datagrams(3, 3000, [register, register + b"\xff" + OBJECTS])):
                noise.send(datagram)
                if number % 150 == 149:
                    assert (await registered(good)).code == Code.CREATED
        assert (await service.health())[0] == 200
    loud = [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]
    assert loud == [], loud[0].getMessage() + str(loud[0].exc_info)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ((b"ep=n1", b"lt=30", b"lwm2m=1.0", b"b=U"), Code.CREATED),
        ((b"lwm2m=1.0", b"ep=zephyr", b"lt=30", b"b=U"), Code.CREATED),
        ((b"lwm2m=1.1", b"ep=zephyr-queue", b"lt=30", b"b=U", b"Q"), Code.CREATED),
        ((b"ep=coap-node", b"lt=86400", b"lwm2m=1.0.0", b"mac=AA:BB:CC:DD:EE:FF", b"ip=::1"), Code.CREATED),
        ((b"ep=n2", b"lwm2m=1.2", b"b=UTM"), Code.CREATED),
        ((b"ep=n3",), Code.CREATED),
        ((b"ep=n4", b"lt=0"), Code.CREATED),
        ((b"ep=n5", b"lt=9999999999"), Code.CREATED),
        (("ep=größe-7".encode(),), Code.CREATED),
        ((b"ep=urn:imei:490154203237518", b"b=UQ"), Code.CREATED),
        ((b"ep=<script>alert(1)</script>",), Code.BAD_REQUEST),  # it holds a slash
        ((b"ep=<b>bold</b",), Code.BAD_REQUEST),
        ((b'ep=<img"onerror=x>',), Code.CREATED),  # ugly, and harmless where text is escaped
        ((), Code.BAD_REQUEST),
        ((b"ep",), Code.BAD_REQUEST),
        ((b"ep=",), Code.BAD_REQUEST),
        ((b"ep=" + b"x" * 201,), Code.BAD_REQUEST),
        ((b"ep=a\x00b",), Code.BAD_REQUEST),
        ((b"ep=a\nb",), Code.BAD_REQUEST),
        ((b"ep=\x1b[31mred",), Code.BAD_REQUEST),
        (("ep=\u202egnp.exe".encode(),), Code.BAD_REQUEST),
        ((b"ep=a b",), Code.BAD_REQUEST),
        ((b"ep=..",), Code.BAD_REQUEST),
        ((b"ep=.",), Code.BAD_REQUEST),
        ((b"ep=victim/deploymentBase/7",), Code.BAD_REQUEST),
        ((b"ep=..\\..",), Code.BAD_REQUEST),
        ((b"ep=n6", b"lt="), Code.BAD_REQUEST),
        ((b"ep=n6", b"lt"), Code.BAD_REQUEST),
        ((b"ep=n6", b"lt=-1"), Code.BAD_REQUEST),
        ((b"ep=n6", b"lt=1e9"), Code.BAD_REQUEST),
        ((b"ep=n6", b"lt=99999999999"), Code.BAD_REQUEST),
        ((b"ep=n6", "lt=٣".encode()), Code.BAD_REQUEST),
        ((b"ep=n6", b"b=XYZ"), Code.BAD_REQUEST),
        ((b"ep=n6", b"b="), Code.BAD_REQUEST),
        ((b"ep=n6", b"lwm2m=1.0", b"Q"), Code.BAD_REQUEST),
        ((b"ep=n6", b"lwm2m=1.1", b"Q=1"), Code.BAD_REQUEST),
        ((b"ep=n6", b"lwm2m="), Code.PRECONDITION_FAILED),
        ((b"ep=n6", b"lwm2m=2.0"), Code.PRECONDITION_FAILED),
        ((b"ep=n6", b"lwm2m=1.10"), Code.PRECONDITION_FAILED),
    ],
)
async def test_each_register_gets_the_code_that_says_why(
    query: tuple[bytes, ...], code: int, redis_url: str, manager: FakeManager
) -> None:
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        reply = await device.post(*query, more=((option.CONTENT_FORMAT, b"\x28"),))
        assert reply.code == code, reply
        if code == Code.CREATED:
            assert len(reply.location_path) == 2
            await service.store.flush()
        else:
            assert service.gateway.sessions == {}
            assert 0 < len(reply.payload) <= 120


async def test_a_name_that_is_no_utf_8_is_refused_without_a_traceback(
    redis_url: str, manager: FakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        for _ in range(3):
            assert (await device.post(b"ep=\xff\xfe")).code in (Code.BAD_REQUEST, Code.EMPTY)
            assert (await device.post(b"ep=a", path=b"\xff")).code in (Code.BAD_REQUEST, Code.NOT_FOUND, Code.EMPTY)
        assert (await device.post(b"ep=good")).code == Code.CREATED
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.CREATED),
        (b"</3/0>,</5>;ver=1.1", Code.CREATED),
        (b"</>;ct=11543;hb,</1/0>,</3/0>", Code.CREATED),
        (b'</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>', Code.CREATED),
        (b"not links", Code.BAD_REQUEST),
        (b"</3/0>,", Code.BAD_REQUEST),
        (b'</3/0>;a="', Code.BAD_REQUEST),
        (b"\xff\xff", Code.BAD_REQUEST),
        (b"," * 1000, Code.BAD_REQUEST),
        # A root that is no path would bend the address of every later request.
        (b'<@evil.example:1/>;rt="oma.lwm2m",</3/0>', Code.BAD_REQUEST),
        (b'<0/x>;rt="oma.lwm2m",</3/0>', Code.BAD_REQUEST),
        (b'<//evil.example>;rt="oma.lwm2m",</3/0>', Code.BAD_REQUEST),
        (b'</a?b=c>;rt="oma.lwm2m",</3/0>', Code.BAD_REQUEST),
        (b'</../x>;rt="oma.lwm2m",</3/0>', Code.BAD_REQUEST),
    ],
)
async def test_each_object_list_is_understood_or_refused(
    body: bytes, code: int, redis_url: str, manager: FakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        for more in ((), ((option.CONTENT_FORMAT, b"\x28"),)):
            reply = await device.post(b"ep=a", more=more, body=body)
            assert reply.code == code, reply
        other = await device.post(b"ep=a", more=((option.CONTENT_FORMAT, b"\x32"),), body=body)
        assert other.code == Code.UNSUPPORTED_CONTENT_FORMAT
        await asyncio.sleep(0.1)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_body_that_never_ends_is_refused_after_32_kib(redis_url: str, manager: FakeManager) -> None:
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        codes = []
        for num in range(40):
            value = encode_block(Block(num, True, 6))
            reply = await device.post(b"ep=huge", more=((option.BLOCK1, value),), body=(b"</9/1>," * 147)[:1024])
            codes.append(reply.code)
        assert codes[:31] == [Code.CONTINUE] * 31
        assert set(codes[33:]) == {Code.REQUEST_ENTITY_TOO_LARGE}
        assert service.gateway.sessions == {}


async def test_a_register_in_blocks_is_taken(redis_url: str, manager: FakeManager) -> None:
    body = OBJECTS + b"".join(b",</10000/%d>" % n for n in range(120))
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        pieces = [body[at : at + 256] for at in range(0, len(body), 256)]
        for num, piece in enumerate(pieces):
            value = encode_block(Block(num, num < len(pieces) - 1, 4))
            reply = await device.post(b"ep=large", more=((option.BLOCK1, value),), body=piece)
        assert reply.code == Code.CREATED
        assert service.gateway.sessions["large"].device.registration.has(5)


async def test_nonsense_in_object_3_is_bounded_text_and_the_update_goes_on(
    redis_url: str, manager: FakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(redis_url, manager) as service:
        odd = OddDevice("odd", service.settings.coap_port)
        async with odd:
            await odd.register()
            await until(lambda: "odd" in manager.attributes)
            told = manager.attributes["odd"]
            assert told["model"] == "<script>alert(1)</script>"
            assert told["manufacturer"] == "A" * 128
            shown = (await events_of(redis_url, service, "telemetry"))[0]["resources"]
            assert len(shown) <= 128
            assert all(len(text) <= 128 and "\0" not in text for text in shown.values())
            manager.assign("odd", 7, "1.1.0")
            await odd.update()
            await until(lambda: any(odd.uris) and odd.watched)
            await odd.show(1)
            await odd.show(2)
            await until(lambda: odd.executes)
            odd.state, odd.version = 0, "1.1.0"
            await odd.register()
            await until(lambda: any(status["execution"] == "closed" for _, _, status in manager.feedback))
        assert manager.feedback[-1][2]["result"]["finished"] == "success"
    assert [record for record in caplog.records if record.exc_info] == []


class OddDevice(ScriptedDevice):
    """Fills object 3 with what should not be there."""

    def _entries(self, path: tuple[str, ...]) -> list[tlv.Tlv] | None:
        entries = super()._entries(path)
        if path == ("3", "0") and entries is not None:
            odd = {0: b"A" * 2000, 1: b"<script>alert(1)</script>", 2: b"\xff\xfe\0", 9: b"_unreadable_", 13: b"\1" * 9}
            entries = [entry for entry in entries if entry.id not in odd]
            entries += [tlv.Tlv(tlv.Kind.RESOURCE, number, value) for number, value in odd.items()]
            entries += [tlv.Tlv(tlv.Kind.RESOURCE, 1000 + number, b"x") for number in range(300)]
        return entries


async def test_unknown_states_and_results_are_kept_and_shown(redis_url: str, manager: FakeManager) -> None:
    async with gateway(redis_url, manager) as service:
        async with ScriptedDevice("dev", service.settings.coap_port) as device:
            await device.register()
            manager.assign("dev", 7, "1.1.0")
            await device.update()
            await until(lambda: any(device.uris) and device.watched)
            await device.show(1)
            await device.show(77, 200)
            await asyncio.sleep(0.2)
            journey = service.gateway.sessions["dev"].journey
            assert journey is not None and (journey.state, journey.result) == (77, 200)
            await device.show(0, 200)
            await until(lambda: any(status["execution"] == "closed" for _, _, status in manager.feedback))
        details = manager.feedback[-1][2]["details"]
        assert details[0] == "cause: update_failed"
        assert "200" in details[1]
        ends = [event for event in await events_of(redis_url, service, "phase") if event["phase"] == "failed"]
        assert (ends[0]["state"], ends[0]["result"], ends[0]["cause"]) == (0, 200, "update_failed")


async def test_late_notifications_do_not_turn_a_journey_back(redis_url: str, manager: FakeManager) -> None:
    async with gateway(redis_url, manager) as service:
        async with ScriptedDevice("dev", service.settings.coap_port) as device:
            await device.register()
            manager.assign("dev", 7, "1.1.0")
            await device.update()
            await until(lambda: any(device.uris) and device.watched)
            await device.show(1)
            device.state = 2
            device.notify(sequence=20)
            await until(lambda: device.executes)
            for state, result, sequence in ((1, 0, 19), (0, 4, 18), (0, 8, 5)):
                device.state, device.result = state, result
                device.notify(sequence=sequence)
            # Who reads it meanwhile is told what it does now; only the notifications are old.
            device.state, device.result = 3, 0
            await asyncio.sleep(0.2)
            device.state, device.result, device.version = 0, 0, "1.1.0"
            await device.register()
            await until(lambda: any(status["execution"] == "closed" for _, _, status in manager.feedback))
        assert manager.feedback[-1][2]["result"]["finished"] == "success"
        assert device.executes == 1


async def test_a_deaf_sleeper_hears_no_retransmission_after_its_window(redis_url: str, manager: FakeManager) -> None:
    async with gateway(redis_url, manager, awake_seconds=0.5, request_seconds=30.0) as service:
        deaf = ScriptedDevice("deaf", service.settings.coap_port, misbehave=frozenset({"deaf"}))
        async with deaf:
            await deaf.register("ep=deaf", "lt=60", "lwm2m=1.1", "b=U", "Q")
            await until(lambda: deaf.requests)
            await asyncio.sleep(0.6)
            heard = len(deaf.requests)
            manager.assign("deaf", 7, "1.1.0")
            await redis_hint(redis_url, "deaf")
            # CoAP repeats after two to three seconds: by then the device sleeps.
            await asyncio.sleep(4.0)
            assert len(deaf.requests) == heard
            assert "deaf" in manager.polls


async def redis_hint(redis_url: str, endpoint: str) -> None:
    """Tell the gateway that there is something to fetch."""
    client = redis.Redis.from_url(redis_url)
    await client.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": endpoint})
    await client.aclose()


async def test_a_full_house_says_so_and_forgets_nobody(
    redis_url: str, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwm2m_gateway.shell.gateway.MAX_SESSIONS", 3)
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        for number in range(3):
            assert (await device.post(b"ep=n%d" % number)).code == Code.CREATED
        assert (await device.post(b"ep=n3")).code == Code.SERVICE_UNAVAILABLE
        assert (await device.post(b"ep=n1")).code == Code.CREATED
        assert len(service.gateway.sessions) == 3


async def test_what_the_message_layer_remembers_is_bounded(
    redis_url: str, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lwm2m_gateway.coap.face.REMEMBERED_MESSAGES", 50)
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        for _ in range(120):
            assert (await device.post(b"ep=")).code == Code.BAD_REQUEST
        assert service._face is not None and service._face.remembered <= 50


async def test_answers_to_strangers_are_small(redis_url: str, manager: FakeManager) -> None:
    async with gateway(redis_url, manager) as service, stranger(service) as device:
        for shape in (
            (),
            ((11, b".well-known"), (11, b"core")),
            ((11, b"rd"),),
            ((11, b"rd"), (11, b"x" * 200)),
            ((35, b"http://evil.example/"),),
            ((9, b"x"),),
            ((11, b"rd"), (15, b"ep=" + b"<" * 190 + b"/")),
        ):
            for code in (Code.GET, Code.POST, Code.DELETE, Code.FETCH):
                device._mid += 1
                request = encode(Message(Type.CON, code, device._mid, b"", shape))
                device.send(request)
                reply = await device.receive()
                assert len(reply) <= max(3 * len(request), 160), (shape, code, reply)
