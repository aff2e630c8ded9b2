"""The gateway with real socket, Redis and HTTP; over 400 lines because all its stories are told in one house."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as redis
from pydantic import SecretStr

from coap_wire import Code
from lwm2m.firmware import State
from lwm2m_gateway.bootstrap import Service
from lwm2m_gateway.sessions import events, journey, offers, registrations
from lwm2m_gateway.settings import GatewaySettings
from lwm2m_gateway.testing import FakeManager, ScriptedDevice
from updraft_local.ports import free_port


async def until(condition: Callable[[], Any], seconds: float = 15.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class House:
    """A gateway with its neighbours; `restart` is kill -9 of the gateway: nothing is flushed or told."""

    def __init__(self, redis_url: str, manager: FakeManager, stack: AsyncExitStack) -> None:
        self.manager, self._stack, self._redis_url = manager, stack, redis_url
        self.port = free_port(2)
        self.store = redis.Redis.from_url(redis_url)
        self.service: Service

    async def start(self, **changes: Any) -> None:
        pace: dict[str, Any] = {
            "settle_seconds": 0.02,
            "soak_seconds": 0.3,
            "ask_again_seconds": 0.3,
            "request_seconds": 3.0,
            "sweep_seconds": 60.0,
            **changes,
        }
        self.service = Service(
            GatewaySettings(
                redis_url=SecretStr(self._redis_url),
                port=free_port(),
                coap_port=self.port,
                ddi_url=f"http://127.0.0.1:{self.manager.port}",
                gateway_token=SecretStr("secret"),
                proxy_uri="coap://127.0.0.1:5685",
                **pace,
            )
        )
        await self.service.__aenter__()

    async def stop(self) -> None:
        await self.service.__aexit__()

    async def kill(self) -> None:
        """Die without a word: what is not yet in Redis is lost."""
        for task in self.service._tasks:
            task.cancel()
        await self.service.gateway.close()
        self.service.uplink._waiting.clear()
        self.service.store._waiting.clear()
        await self.service.__aexit__()

    async def device(self, name: str = "dev-1", *, misbehave: frozenset[str] = frozenset()) -> ScriptedDevice:
        return await self._stack.enter_async_context(ScriptedDevice(name, self.port, misbehave=misbehave))

    async def uplink(self, kind: str) -> list[dict[str, Any]]:
        entries: Any = await self.store.xrange("updraft:uplink")
        events = [json.loads(fields[b"event"]) for _, fields in entries]
        return [event for event in events if event["type"] == kind]

    def ended(self) -> list[dict[str, Any]]:
        return [status for _, _, status in self.manager.feedback if status["execution"] == "closed"]


@pytest.fixture
async def house(redis_url: str) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(FakeManager())
        built = House(redis_url, manager, stack)
        await built.store.flushdb()
        await built.start()
        yield built
        await built.stop()
        await built.store.aclose()


async def update_to_rebooting(house: House, device: ScriptedDevice) -> None:
    """Assign 1.1.0 to a registered device and play it to the reboot."""
    house.manager.assign(device.endpoint, 7, "1.1.0")
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": device.endpoint})
    await until(lambda: any(device.uris) and device.watched)
    await device.show(1)
    await until(lambda: len(house.manager.feedback) >= 2)
    await device.show(2)
    await until(lambda: device.executes)
    device.state, device.result = 0, 0


async def test_a_device_is_taken_in_read_and_shown(house: House) -> None:
    device = await house.device()
    reply = await device.register()
    assert reply.code == Code.CREATED
    assert reply.location_path[0] == "rd"
    assert len(reply.location_path[1]) <= 12
    await until(lambda: "dev-1" in house.manager.attributes)
    assert house.manager.attributes["dev-1"]["firmware.version"] == "1.0.0"
    assert house.manager.attributes["dev-1"]["model"] == "<b>model</b>"
    await house.service.uplink.flush()
    presence = (await house.uplink("presence"))[0]
    assert (presence["state"], presence["lifetimeSeconds"], presence["queueMode"]) == ("online", 60, False)
    assert (await house.uplink("telemetry"))[0]["resources"]["/3/0/9"] == "80"
    assert (await device.update()).code == Code.CHANGED
    assert (await device.deregister()).code == Code.DELETED
    assert (await device.update()).code == Code.NOT_FOUND
    assert (await device.deregister()).code == Code.NOT_FOUND


async def test_bad_registrations_get_the_code_that_says_why(house: House) -> None:
    device = await house.device()
    for query, code in (
        (("lt=60",), Code.BAD_REQUEST),
        (("ep=a", "lt=x"), Code.BAD_REQUEST),
        (("ep=a", "lwm2m=3.0"), Code.PRECONDITION_FAILED),
    ):
        assert (await device.register(*query)).code == code
    assert house.service.gateway.sessions == {}


async def test_one_update_end_to_end(house: House) -> None:
    device = await house.device()
    await device.register()
    await until(lambda: house.manager.polls)
    await update_to_rebooting(house, device)
    uri = device.uris[-1]
    assert uri.startswith("coap://127.0.0.1:5685/f/")
    assert len(uri) <= 100
    ticket = json.loads(await house.store.get(f"updraft:ticket:{uri.split('/')[4]}") or b"{}")
    assert (ticket["controllerId"], ticket["actionId"], ticket["sha256"]) == ("dev-1", 7, "ab" * 32)
    device.version = "1.1.0"
    await device.register()
    await until(house.ended)
    assert house.ended()[0]["result"]["finished"] == "success"
    executions = [status["execution"] for _, _, status in house.manager.feedback]
    assert executions == ["proceeding", "download", "downloaded", "proceeding", "closed"]
    await house.service.uplink.flush()
    phases = [event["phase"] for event in await house.uplink("phase")]
    assert phases[0] == "assigned"
    assert phases[-1] == "succeeded"
    await until(lambda: house.service.gateway.sessions["dev-1"].journey is None)
    await house.service.store.flush()
    assert await house.store.get(f"updraft:ticket:{uri.split('/')[4]}") is None


async def test_a_rolled_back_device_is_reported_with_its_reason(house: House) -> None:
    device = await house.device()
    await device.register()
    await update_to_rebooting(house, device)
    device.version = "1.1.0"
    await device.register()
    await asyncio.sleep(0.15)
    device.version = "1.0.0"
    await device.register()
    await until(house.ended)
    assert house.ended()[0]["details"][0] == "cause: rolled_back"


@pytest.mark.parametrize("moment", ["offered", "downloading", "rebooting"])
async def test_a_killed_gateway_goes_on_where_it_was(house: House, moment: str) -> None:
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    # Not the URI alone: a gateway killed before it has read the answer would have to offer again.
    await until(lambda: any(device.uris) and house.manager.feedback)
    if moment != "offered":
        await device.show(1)
        await until(lambda: len(house.manager.feedback) >= 2)
    if moment == "rebooting":
        await device.show(2)
        await until(lambda: device.executes)
        device.state = 0
        await until(lambda: len(house.manager.feedback) >= 4)
    await house.service.store.flush()
    await house.kill()
    await house.start()
    if moment != "rebooting":
        await asyncio.sleep(0.3)
        await device.show(1)
        await device.show(2)
        await until(lambda: device.executes)
        device.state = 0
        await asyncio.sleep(0.2)
    device.version = "1.1.0"
    await device.register()
    await until(house.ended)
    assert house.ended()[0]["result"]["finished"] == "success"
    # Named twice when the new gateway was slow to start and the device still Idle: the same ticket, nothing is lost.
    assert len({uri for uri in device.uris if uri}) == 1
    assert device.executes == 1


async def test_a_sleeping_device_is_written_to_only_while_awake(house: House) -> None:
    await house.stop()
    await house.start(awake_seconds=0.3)
    device = await house.device()
    await device.register("ep=dev-1", "lt=60", "lwm2m=1.1", "b=U", "Q")
    await until(lambda: house.manager.polls)
    await asyncio.sleep(0.6)
    heard = len(device.requests)
    house.manager.assign("dev-1", 7, "1.1.0")
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": "dev-1"})
    await asyncio.sleep(0.6)
    assert len(device.requests) == heard
    await device.update()
    await until(lambda: any(device.uris))


async def test_a_device_that_refuses_or_does_not_notify_is_still_led_to_an_end(house: House) -> None:
    quiet = await house.device("quiet", misbehave=frozenset({"no_observe"}))
    stubborn = await house.device("stubborn", misbehave=frozenset({"refuses_uri"}))
    for device in (quiet, stubborn):
        await device.register()
        house.manager.assign(device.endpoint, 7, "1.1.0")
        await device.update()
    await until(lambda: any(quiet.uris))
    quiet.state = 2
    await until(lambda: quiet.executes)
    await until(
        lambda: any(name == "stubborn" for name, _, status in house.manager.feedback if status["execution"] == "closed")
    )
    details = next(status["details"] for name, _, status in house.manager.feedback if name == "stubborn")
    assert details[0] == "cause: device_refused"


async def test_a_device_that_will_not_leave_another_package_is_asked_in_peace_and_given_up(house: House) -> None:
    device = await house.device(misbehave=frozenset({"never_resets"}))
    device.state = 2
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(house.ended)
    assert house.ended()[0]["details"][0] == "cause: device_refused"
    assert device.uris == [""] * (offers.MAX_RESETS[State.DOWNLOADED] + 1)
    assert len(device.requests) < 60


async def test_a_device_that_was_in_another_download_gets_its_image_after_one_reset(house: House) -> None:
    device = await house.device()
    device.state = 2
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))
    assert device.uris[0] == "" and len(device.uris) == 2


async def test_a_device_that_tells_no_version_and_nonsense_of_its_deltas_is_offered_the_full_image(
    house: House,
) -> None:
    house.manager.deltas = [(200, FOUND)]
    device = await house.device()
    device.image, device.formats, device.version = bytes.fromhex("cd" * 32), "no numbers", None
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))
    assert (await ticket_of(house, device.uris[0]))["sha256"] == "ab" * 32
    assert len(device.requests) < 40


async def test_whatever_a_read_leads_to_the_device_is_asked_again_only_in_its_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insatiable(*given: Any) -> events.Step:
        after, effects = step(*given)
        return after, (*effects, events.ReadFirmware())

    step = journey.step
    monkeypatch.setattr(journey, "step", insatiable)
    await house.stop()
    await house.start(ask_again_seconds=60.0, sweep_seconds=300.0)
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))
    await asyncio.sleep(0.5)
    assert sum(request.uri_path == ("5", "0") for request in device.requests) < 20


async def test_a_cancelled_action_resets_the_device(house: House) -> None:
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))
    await device.show(1)
    house.manager.cancels["dev-1"] = 7
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": "dev-1"})
    await until(house.ended)
    await until(lambda: device.uris[-1] == "")


async def test_feedback_survives_an_update_manager_that_is_away(house: House) -> None:
    device = await house.device()
    await device.register()
    await update_to_rebooting(house, device)
    house.manager.broken = True
    device.version = "1.1.0"
    await device.register()
    await asyncio.sleep(1.5)
    assert not house.ended()
    house.manager.broken = False
    await until(house.ended)
    assert house.ended()[0]["result"]["finished"] == "success"


async def test_an_endpoint_that_registers_again_keeps_its_journey(house: House) -> None:
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))
    await device.show(1)
    first = device.location
    await device.register()
    assert device.location != first
    await asyncio.sleep(0.2)
    await device.show(2)
    await until(lambda: device.executes)
    assert len([uri for uri in device.uris if uri]) == 1


async def test_what_only_the_gateway_knows_is_written_again_when_redis_comes_back_empty(house: House) -> None:
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: house.manager.feedback)
    token = device.uris[-1].split("/")[4]
    await house.service.store.flush()
    # The watch has to have seen Redis once.
    await asyncio.sleep(1.2)
    keys = {f"updraft:ticket:{token}", "updraft:gateway:registration:dev-1", "updraft:gateway:journey:dev-1"}
    before = {key: await house.store.get(key) for key in keys}
    assert all(before.values())
    await house.store.flushdb()
    async with asyncio.timeout(10):
        while not all([await house.store.get(key) for key in keys]):
            await asyncio.sleep(0.05)
    ticket = f"updraft:ticket:{token}"
    assert await house.store.get(ticket) == before[ticket]


async def test_a_device_that_registers_while_the_update_manager_is_away_is_read_when_it_is_back(house: House) -> None:
    house.manager.broken = True
    device = await house.device()
    assert (await device.register()).code == Code.CREATED
    await asyncio.sleep(0.5)
    assert not house.manager.attributes
    house.manager.broken = False
    await until(lambda: "dev-1" in house.manager.attributes)


async def test_a_restarted_gateway_observes_its_devices_again(house: House) -> None:
    device = await house.device()
    await device.register()
    await until(lambda: ("3", "0", "9") in device.observed)
    await house.service.store.flush()
    await house.kill()
    device.observed.clear()
    await house.start()
    await until(lambda: ("3", "0", "9") in device.observed)


async def test_a_trace_does_not_tell_the_token(house: House) -> None:
    device = await house.device()
    await device.register()
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: house.manager.feedback)
    await device.show(1)
    await until(lambda: len(house.manager.feedback) >= 2)
    await house.service.uplink.flush()
    traces = [event["text"] for event in await house.uplink("trace")]
    assert any("read /5/0: 2.05" in text for text in traces)
    assert not [text for text in traces if device.uris[-1].split("/")[4] in text]


async def offered(house: House, device: ScriptedDevice, action_id: int = 7) -> None:
    """Register a device and give it an image to fetch."""
    await device.register()
    house.manager.assign(device.endpoint, action_id, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris) and house.manager.feedback and device.watched)


async def test_a_journey_whose_device_stays_away_ends_although_the_gateway_was_restarted(house: House) -> None:
    await house.stop()
    short = {"silence_seconds": 3.0, "reboot_seconds": 1.0}
    await house.start(**short)
    device = await house.device()
    await offered(house, device)
    await device.deregister()
    await house.service.store.flush()
    await house.service.uplink.flush()
    await house.kill()
    assert not house.ended()
    await house.start(**short)
    await until(house.ended)
    assert house.ended()[0]["details"][0] == "cause: device_silent"
    await until(lambda: not house.service.gateway.sessions)
    await house.service.store.flush()
    assert await house.store.get("updraft:gateway:journey:dev-1") is None
    await house.service.uplink.flush()
    assert (await house.uplink("presence"))[-1]["state"] == "offline"


async def test_a_device_that_said_good_bye_before_its_reboot_is_awaited_by_the_next_gateway(house: House) -> None:
    device = await house.device()
    await device.register()
    await update_to_rebooting(house, device)
    await until(lambda: len(house.manager.feedback) >= 4)
    await device.deregister()
    await house.service.store.flush()
    await house.kill()
    await house.start()
    heard = len(device.requests)
    await asyncio.sleep(0.7)
    assert len(device.requests) == heard  # nobody is there to be asked
    assert house.service.gateway.registered == 0
    device.version = "1.1.0"
    await device.register()
    await until(house.ended)
    assert house.ended()[0]["result"]["finished"] == "success"
    assert device.executes == 1


async def test_a_registration_that_ran_out_while_no_gateway_was_there_is_told(house: House) -> None:
    device = await house.device()
    await device.register()
    await until(lambda: house.manager.attributes)
    await house.service.store.flush()
    await house.kill()
    key = "updraft:gateway:registration:dev-1"
    kept = registrations.decode(await house.store.get(key) or b"")
    assert await house.store.ttl(key) > kept.expires_at - kept.seen_at + 86400
    await house.store.set(key, registrations.encode(replace(kept, seen_at=kept.seen_at - 3600)))
    await house.start()
    await house.service.uplink.flush()
    assert (await house.uplink("presence"))[-1]["state"] == "offline"
    assert house.service.gateway.sessions == {}
    await house.service.store.flush()
    assert await house.store.get(key) is None


async def test_a_session_ends_with_the_journey_of_a_device_that_has_gone(house: House) -> None:
    await house.stop()
    await house.start(silence_seconds=2.0, sweep_seconds=0.2)
    device = await house.device()
    await offered(house, device)
    await device.deregister()
    await asyncio.sleep(0.3)  # what is under way may still come
    heard = len(device.requests)
    await until(house.ended)
    assert house.ended()[0]["details"][0] == "cause: device_silent"
    await until(lambda: not house.service.gateway.sessions)
    assert len(device.requests) == heard
    await house.service.uplink.flush()
    assert (await house.uplink("presence"))[-1]["state"] == "offline"
    # The next action waits for the device, and nobody asks in its name meanwhile.
    house.manager.assign("dev-1", 8, "1.1.0")
    polls = len(house.manager.polls)
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": "dev-1"})
    await asyncio.sleep(1.0)
    assert (len(house.manager.polls), len(house.ended())) == (polls, 1)
    first = device.uris[-1]
    await device.register()
    await until(lambda: device.uris[-1] not in (first, ""))


async def test_an_action_replaced_while_the_device_is_away_waits_for_it(house: House) -> None:
    device = await house.device()
    await offered(house, device)
    first = device.uris[-1]
    await device.deregister()
    house.manager.assign("dev-1", 8, "1.1.0")
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": "dev-1"})
    await until(lambda: not house.service.gateway.sessions)
    await device.register()
    await until(lambda: device.uris[-1] not in (first, ""))
    assert not house.ended()


async def test_a_sleeper_that_notifies_is_awake(house: House) -> None:
    await house.stop()
    await house.start(awake_seconds=1.0, ask_again_seconds=60.0)
    device = await house.device()
    await device.register("ep=dev-1", "lt=60", "lwm2m=1.1", "b=U", "Q")
    house.manager.assign("dev-1", 7, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris) and device.watched)
    # Its download lasts longer than it listens after what it said before.
    await asyncio.sleep(1.5)
    await device.show(2)
    await until(lambda: device.executes, 5)


@pytest.mark.parametrize("spoilt", ["download only", "no image"])
async def test_an_action_that_cannot_be_carried_out_is_closed_with_the_reason(house: House, spoilt: str) -> None:
    device = await house.device()
    await device.register()
    await until(lambda: house.manager.attributes)
    house.manager.assign("dev-1", 7, "1.1.0")
    deployment = house.manager.deployments["dev-1"]["deployment"]
    if spoilt == "download only":
        deployment["update"] = "skip"
    else:
        deployment["chunks"][0]["artifacts"] = []
    await device.update()
    await until(house.ended)
    (told,) = house.ended()
    assert told["result"]["finished"] == "failure"
    assert told["details"][0] == "cause: device_refused"
    assert spoilt in told["details"][1]
    # The next one is taken as if nothing had been.
    house.manager.assign("dev-1", 8, "1.1.0")
    await device.update()
    await until(lambda: any(device.uris))


async def test_a_notification_that_waited_does_not_overrule_a_later_read(house: House) -> None:
    device = await house.device()
    await offered(house, device)
    await device.show(1)
    await until(lambda: len(house.manager.feedback) >= 2)
    await asyncio.sleep(0.2)
    session = house.service.gateway.sessions["dev-1"]
    device.state, device.result = 77, 200
    session.ring(events.Contact())
    session.ring(events.Observed(state=0))  # came before the read that the Contact leads to
    await asyncio.sleep(0.5)
    assert session.journey is not None
    assert (session.journey.state, session.journey.result) == (77, 200)


FOUND = {
    "from": "cd" * 32,
    "sha256": "ef" * 32,
    "size": 160,
    "format": 2,
    "fullSize": 1000,
    "_links": {"download-http": {"href": "http://manager/delta"}},
}


async def able_device(house: House, *deltas: tuple[int, dict[str, Any]]) -> ScriptedDevice:
    """A registered device with object 26250, and an update manager that answers so when a delta is asked for."""
    house.manager.deltas = list(deltas)
    device = await house.device()
    device.image = bytes.fromhex("cd" * 32)
    await device.register()
    await until(lambda: "dev-1" in house.manager.attributes)
    house.manager.assign("dev-1", 7, "1.1.0")
    await house.store.xadd("updraft:hints", {"tenant": "DEFAULT", "controllerId": "dev-1"})
    return device


async def ticket_of(house: House, uri: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(await house.store.get("updraft:ticket:" + uri.split("/")[4]) or b"{}")
    return record


async def test_a_delta_is_asked_for_waited_for_offered_and_replaced_by_the_full_image_when_it_fails(
    house: House,
) -> None:
    device = await able_device(house, (202, {}), (200, FOUND))
    await until(lambda: any(device.uris))
    assert house.manager.asked == [f"delta?from={'cd' * 32}&formats=3"] * 2
    delta = await ticket_of(house, device.uris[0])
    assert (delta["url"], delta["sha256"], delta["size"]) == ("http://manager/delta", "ef" * 32, 160)
    await until(lambda: device.watched)
    await device.show(1)
    await device.show(0, 5)
    await until(lambda: len(device.uris) == 2)
    full = await ticket_of(house, device.uris[1])
    assert (full["sha256"], full["size"]) == ("ab" * 32, 1000)
    await house.service.store.flush()
    assert await ticket_of(house, device.uris[0]) == {}, "the right to fetch the delta has ended"
    await device.show(1)
    await device.show(2)
    await until(lambda: device.executes)
    device.state, device.version = 0, "1.1.0"
    await device.register()
    await until(house.ended)
    assert house.ended()[0]["result"]["finished"] == "success"
    await house.service.uplink.flush()
    told = await house.uplink("phase")
    offered = [one["delivery"] for one in told if "delivery" in one]
    sizes = {"fullSize": 1000}
    assert offered == [
        {"kind": "delta", "size": 160, "sha256": "ef" * 32, "from": "cd" * 32, **sizes},
        {"kind": "full", "size": 1000, "sha256": "ab" * 32, **sizes},
    ]
    assert any("by delta the device reported result 5" in one["text"] for one in told)
    resources = [one["resources"] for one in await house.uplink("telemetry")]
    assert any(one.get("/26250/0/0") == "cd" * 32 and one.get("/26250/0/3") == "3" for one in resources)


async def test_a_gateway_killed_with_a_delta_on_offer_goes_on_with_that_delta(house: House) -> None:
    device = await able_device(house, (200, FOUND))
    await until(lambda: any(device.uris) and device.watched)
    await house.service.store.flush()
    device.state = 1
    await house.kill()
    await house.start()
    await device.update()
    await until(lambda: device.watched)
    await device.show(0, 9)
    await until(lambda: len(device.uris) == 2)
    full = await ticket_of(house, device.uris[-1])
    assert full["sha256"] == "ab" * 32 and device.uris[0] != device.uris[-1]


async def test_a_gateway_killed_while_a_delta_is_built_asks_for_it_again_when_it_can(house: House) -> None:
    device = await able_device(house, (202, {}))
    await until(lambda: house.manager.asked)
    await house.service.store.flush()
    await house.kill()
    house.manager.deltas, house.manager.broken = [(200, FOUND)], True
    heard = len(device.requests)
    await house.start()
    await until(lambda: len(device.requests) > heard)
    assert not any(device.uris), "what the update manager has for it is not known, and not guessed"
    house.manager.broken = False
    await until(lambda: any(device.uris))
    assert (await ticket_of(house, device.uris[0]))["sha256"] == "ef" * 32


@pytest.mark.parametrize("answer", [(404, {}), (200, {"size": "lies"}), (500, {})])
async def test_a_server_without_a_good_delta_costs_a_bounded_time_and_nothing_else(
    house: House, answer: tuple[int, dict[str, Any]]
) -> None:
    await house.stop()
    await house.start(delta_wait_seconds=2.0)
    device = await able_device(house, answer)
    await until(lambda: any(device.uris))
    assert (await ticket_of(house, device.uris[0]))["sha256"] == "ab" * 32
